//! An attribute of a frame, wherever an object keeps it: in the frame's functional group, in the shared one, or at its top.

use crate::dicom::object::{items, number, numbers, text};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Where attributes of one frame are looked for.
pub(super) struct Place<'a> {
    object: &'a InMemDicomObject,
    own: Option<&'a InMemDicomObject>,
    shared: Option<&'a InMemDicomObject>,
}

impl<'a> Place<'a> {
    pub(super) fn of(object: &'a InMemDicomObject, frame: usize) -> Self {
        Self {
            object,
            own: items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame),
            shared: items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(),
        }
    }

    fn find<T>(&self, group: Tag, take: impl Fn(&InMemDicomObject) -> Option<T>) -> Option<T> {
        let groups = [self.own, self.shared].into_iter().flatten();
        let inside = groups.filter_map(|groups| items(groups, group).first());
        inside.chain([self.object]).find_map(take)
    }

    /// A finite number.
    pub(super) fn number(&self, group: Tag, tag: Tag) -> Option<f64> {
        self.find(group, |object| number(object, tag)).filter(|number| number.is_finite())
    }

    pub(super) fn numbers(&self, group: Tag, tag: Tag) -> Option<Vec<f64>> {
        self.find(group, |object| numbers(object, tag)).filter(|all| all.iter().all(|one| one.is_finite()))
    }

    pub(super) fn text(&self, group: Tag, tag: Tag) -> Option<String> {
        self.find(group, |object| text(object, tag))
    }

    /// A length or time: finite and above zero.
    pub(super) fn positive(&self, group: Tag, tag: Tag) -> Option<f64> {
        self.number(group, tag).filter(|number| *number > 0.0)
    }
}

/// Seconds since midnight of the day, days counted in, of a DICOM date and time; good for differences only.
pub(super) fn seconds(date_time: &str) -> Option<f64> {
    let digits = date_time.split(['+', '-', '&']).next()?.trim();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() < 14 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| whole[from..to].parse::<f64>().ok();
    let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
    Some(part(6, 8)? * 86_400.0 + part(8, 10)? * 3600.0 + part(10, 12)? * 60.0 + part(12, 14)? + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_tell_times_apart_by_fractions() {
        let [a, b] = ["20260101120000.25", "20260101120001.5+0100"].map(|text| seconds(text).unwrap());
        assert!((b - a - 1.25).abs() < 1e-9);
        assert!(seconds("2026").is_none() && seconds("2026010112000x").is_none());
    }
}

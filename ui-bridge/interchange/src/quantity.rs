//! What the numbers of a volume mean, as the one line of text that our files carry.

use carm::Quantity;

/// Stated in every file that can hold text.
pub(crate) const RESEARCH_USE: &str = "Isocenter, research use only";

/// What a file's samples are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// 32-bit floats.
    Values(Quantity),
    /// Bytes, with what their numbers or bits mean in words.
    Labels(&'a str),
}

impl Content<'_> {
    /// The line that tells what the numbers mean.
    pub(crate) fn to_text(self) -> Option<String> {
        match self {
            Self::Values(quantity) => to_text(quantity),
            Self::Labels(meaning) => Some(meaning.into()),
        }
    }
}

/// `HU`, `HU mu_water_per_mm=0.0206`, `mu_per_mm`, or nothing for an unknown meaning.
pub(crate) fn to_text(quantity: Quantity) -> Option<String> {
    match quantity {
        Quantity::MuPerMm => Some("mu_per_mm".into()),
        Quantity::Hu { mu_water_per_mm: None } => Some("HU".into()),
        Quantity::Hu { mu_water_per_mm: Some(mu) } => Some(format!("HU mu_water_per_mm={mu}")),
        Quantity::Unknown => None,
    }
}

/// The meaning told by a line of ours; [`Quantity::Unknown`] for anything else.
pub(crate) fn from_text(text: &str) -> Quantity {
    let mut words = text.split_whitespace();
    match words.next() {
        Some("mu_per_mm") => Quantity::MuPerMm,
        Some("HU") => {
            let mu = words.next().and_then(|word| word.strip_prefix("mu_water_per_mm="));
            let mu = mu.and_then(|number| number.parse().ok()).filter(|&mu: &f64| mu > 0.0 && mu.is_finite());
            Quantity::Hu { mu_water_per_mm: mu }
        }
        _ => Quantity::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantity_text_comes_back() {
        for quantity in [
            Quantity::MuPerMm,
            Quantity::Hu { mu_water_per_mm: None },
            Quantity::Hu { mu_water_per_mm: Some(0.020589) },
        ] {
            assert_eq!(from_text(&to_text(quantity).unwrap()), quantity);
        }
        assert_eq!(to_text(Quantity::Unknown), None);
        assert_eq!(from_text("FSL5.0"), Quantity::Unknown);
        assert_eq!(from_text("HU mu_water_per_mm=NaN"), Quantity::Hu { mu_water_per_mm: None });
    }
}

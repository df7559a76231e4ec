//! Unique identifiers under 2.25, the root for UUIDs (PS3.5 annex B.2), and the date and time of writing.

use crate::error::InterchangeError;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names this program as the writer in the file meta information.
pub(crate) const IMPLEMENTATION_CLASS_UID: &str = "2.25.220436881733870127425968237911873066318";
/// Its short name beside it, at most 16 characters.
pub(crate) const IMPLEMENTATION_VERSION_NAME: &str = "ISOCENTER_0_1";

/// A new UID from a random UUID (RFC 9562 version 4) as a decimal number.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn new_uid(path: &Path) -> Result<String, InterchangeError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        InterchangeError::dicom(path, "identifier", format!("no random numbers: {error}"))
    })?;
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    Ok(format!("2.25.{}", u128::from_be_bytes(bytes)))
}

/// Now in UTC as DICOM writes it: `YYYYMMDD`, `HHMMSS`.
pub(crate) fn date_and_time() -> (String, String) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    let time = format!("{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    (format!("{year:04}{month:02}{day:02}"), time)
}

/// Days since 1970-01-01 to year, month, day.
///
/// Method: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_is_new_and_within_64_characters() {
        let (a, b) = (new_uid(Path::new("a")).unwrap(), new_uid(Path::new("a")).unwrap());
        assert_ne!(a, b);
        assert!(a.starts_with("2.25.") && a.len() <= 64 && !a.starts_with("2.25.0"));
    }

    #[test]
    fn uid_dates_follow_the_calendar() {
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(11_016), (2000, 2, 29));
        assert_eq!(civil_from_days(20_454), (2026, 1, 1));
        assert_eq!(date_and_time().0.len(), 8);
    }
}

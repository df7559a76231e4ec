//! Libraries that panic on broken files: the panic ends here, as an error, and says nothing of the data.
//!
//! A panic's message may quote a value that it stumbled over, and that value may be a patient's name. So while
//! a library works inside [`contained`], the panic hook of this thread stays silent; everywhere else the hook
//! that was there before does its work unchanged.

use crate::error::InterchangeError;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic inside becomes an error that names the file and the step.
pub(crate) fn contained<T>(
    path: &Path,
    what: &'static str,
    work: impl FnOnce() -> Result<T, InterchangeError>,
) -> Result<T, InterchangeError> {
    HOOK.call_once(|| {
        let outer = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CONTAINED.get() {
                outer(panic);
            }
        }));
    });
    let was_contained = IS_CONTAINED.replace(true);
    // The closure owns or only reads what it uses; nothing half-changed is looked at after a panic.
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(was_contained);
    result.unwrap_or_else(|_| {
        Err(InterchangeError::dicom(path, what, "damage that the decoder did not survive"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containment_turns_a_panic_into_an_error_without_its_words() {
        let path = Path::new("broken.dcm");
        let text = contained::<()>(path, "data set", || panic!("Doe^Jane")).unwrap_err().to_string();
        assert!(text.contains("broken.dcm") && !text.contains("Doe"), "{text}");
        assert_eq!(contained(path, "data set", || Ok(7)).unwrap(), 7);
    }
}

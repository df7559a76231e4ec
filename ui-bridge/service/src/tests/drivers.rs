//! Drivers in processes of their own that say nothing, babble, crash or send more than they said: shell scripts.

use crate::{Driver, ProcessDriver};

fn reason(script: &str) -> String {
    let command = ["sh", "-c", script].map(Into::into).to_vec();
    let driver = ProcessDriver { name: "panel".into(), command, returns_after_end: true };
    driver.open().err().expect("a driver that announces nothing").to_string()
}

#[test]
fn driver_that_does_not_announce_frames_is_refused_with_its_reason() {
    assert!(reason("exit 1").contains("ended before it announced"));
    assert!(reason("kill -SEGV $$").contains("ended before it announced"));
    assert_eq!(reason("printf 'Xno such camera' >&0"), "panel: no such camera");
    // A description of 2^63 bytes is not waited for, and none of it is allocated.
    assert!(reason(r"printf 'F\0\0\0\0\0\0\0\200' >&0; sleep 5").contains("at most 1 GiB"));
    assert!(!reason(r"printf 'F\12\0\0\0\0\0\0\0not a run.' >&0").is_empty());
}

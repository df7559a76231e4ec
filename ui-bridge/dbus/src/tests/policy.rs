//! The policy that is deployed for the system bus, held by a real `dbus-daemon`: nobody may do anything, but the daemon
//! own its name and its group call it.

use super::PrivateBus;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const NOBODY: &str = "65534";

/// A bus like the system's, with our policy for a daemon that runs as `user`.
fn bus(folder: &Path, user: &str) -> (PrivateBus, String) {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/org.isocenter.Daemon1.conf");
    let policy = std::fs::read_to_string(deployed).unwrap();
    let ours = policy.replace("<policy user=\"isocenter\">", &format!("<policy user=\"{user}\">"));
    let ours = ours.split_once("<busconfig>").unwrap().1;
    let socket = folder.join("bus");
    let configuration = folder.join("bus.conf");
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\"\n\
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>system</type>\n\
         <listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/>\n\
         <deny own=\"*\"/><deny send_type=\"method_call\"/><allow send_type=\"method_return\"/>\n\
         <allow send_type=\"error\"/><allow send_destination=\"org.freedesktop.DBus\"/>\n\
         <allow receive_type=\"method_call\"/><allow receive_type=\"method_return\"/><allow receive_type=\"error\"/>\n\
         </policy>{ours}",
        socket.display()
    );
    std::fs::write(&configuration, text).unwrap();
    let mut daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", configuration.display()))
        .args(["--nofork", "--print-address=1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (PrivateBus(daemon), address.trim().to_owned())
}

/// A call to the daemon by another user.
fn call_as(user: &str, address: &str) -> Output {
    Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups", "busctl"])
        .arg(format!("--address={address}"))
        .args(["get-property", crate::BUS_NAME, crate::DAEMON_PATH, "org.isocenter.Daemon1", "Version"])
        .output()
        .expect("`setpriv` of util-linux")
}

#[test]
fn deployed_policy_keeps_others_from_owning_and_calling() {
    if !rustix::process::getuid().is_root() {
        println!("not run: acting as another user needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // A user that is not the daemon's may not own the name, not even root.
    let (_bus, address) = bus(folder.path(), "nobody");
    let own = Command::new("busctl")
        .arg(format!("--address={address}"))
        .args([
            "call",
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "RequestName",
        ])
        .args(["su", crate::BUS_NAME, "0"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&own.stderr);
    assert!(!own.status.success() && told.to_lowercase().contains("access denied"), "{told}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (_bus, address) = bus(folder.path(), "root");
    let rig = super::Rig::start_on(address.clone(), folder.path());
    let allowed = call_as("0", &address);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    let denied = call_as(NOBODY, &address);
    let told = String::from_utf8_lossy(&denied.stderr);
    assert!(!denied.status.success() && told.to_lowercase().contains("access denied"), "{told}");
    drop(rig);
}

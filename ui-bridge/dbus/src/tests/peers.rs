//! Without a bus: the daemon's own socket.

use super::Rig;
use crate::{DAEMON_PATH, stream_path};
use std::os::unix::fs::PermissionsExt;
use zbus::Proxy;
use zbus::connection::Builder;

#[test]
fn peer_calls_the_daemon_without_a_bus_and_its_place_is_given_back() {
    let rig = Rig::start();
    rig.runtime.block_on(async {
        // More often than there are places for peers at once.
        for _ in 0..40 {
            let stream = tokio::net::UnixStream::connect(&rig.socket).await.unwrap();
            let peer = Builder::unix_stream(stream).p2p().build().await.unwrap();
            // There is no bus, so there are no names on it: the destination says nothing.
            let spin =
                Proxy::new(&peer, "org.isocenter.Daemon1", stream_path("flat-panel"), "org.isocenter.Spin1");
            let spin = spin.await.unwrap();
            let run: String = spin.call("Arm", &()).await.unwrap();
            assert!(run.contains("-spin"), "{run}");
            spin.call::<_, _, ()>("Abort", &()).await.unwrap();
            let refused = spin.call::<_, _, ()>("Abort", &()).await.unwrap_err();
            assert!(refused.to_string().contains("org.isocenter.Error.NotNow"), "{refused}");
            let runs =
                Proxy::new(&peer, "org.isocenter.Daemon1", DAEMON_PATH, "org.isocenter.Runs1").await.unwrap();
            assert_eq!(runs.get_property::<u32>("Count").await.unwrap(), 0);
        }
    });
}

#[test]
fn socket_for_peers_is_closed_to_others_and_taken_away_at_the_end() {
    let rig = Rig::start();
    let mode = std::fs::metadata(&rig.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let Rig { socket, _server, .. } = rig;
    drop(_server);
    assert!(!socket.exists());
}

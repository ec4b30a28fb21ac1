//! Programs of others that the suites call: Debian's packages, installed where we may.

use crate::shell::{self, Failure, Run};

/// Real peers and networks for the scenarios, and a C++ compiler for libFuzzer.
pub fn tests() -> Result<(), Failure> {
    ensure(&[
        ("sipp", "sip-tester"),
        ("baresip", "baresip-core"),
        ("openssl", "openssl"),
        ("c++", "g++"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("svmap", "sipvicious"),
        ("kamailio", "kamailio"),
        ("linphonec", "linphone-cli"),
        ("knotd", "knot"),
    ])
}

/// What the bench measures us beside.
pub fn bench() -> Result<(), Failure> {
    ensure(&[("kamailio", "kamailio"), ("rtpengine", "rtpengine-daemon"), ("taskset", "util-linux")])
}

/// Installs the packages of missing programs, or says which command would.
fn ensure(wanted: &[(&'static str, &'static str)]) -> Result<(), Failure> {
    let missing: Vec<_> = wanted.iter().filter(|(program, _)| !shell::exists(program)).collect();
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if missing.is_empty() {
        let found: Vec<_> = wanted.iter().map(|(program, _)| *program).collect();
        println!("   already installed: {}", found.join(", "));
        return Ok(());
    }
    if !shell::exists("apt-get") {
        let remedy = format!(
            "Install what your system calls {} (Debian's names), then try again.",
            packages.join(", ")
        );
        return Err(Failure::Missing { programs, remedy });
    }
    if Run::new("id").args(["-u"]).read()?.trim() != "0" {
        let remedy = format!("This is not root, so run: sudo apt-get install {}", packages.join(" "));
        return Err(Failure::Missing { programs, remedy });
    }
    let apt = || Run::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    let install =
        || apt().args(["install", "--yes", "--quiet=2", "--no-install-recommends"]).args(&packages).run();
    // The package lists of a fresh machine or container are empty or stale; a warm one needs no update.
    install().or_else(|_| {
        apt().args(["update", "--quiet=2"]).run()?;
        install()
    })
}

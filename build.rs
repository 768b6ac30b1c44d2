//! Links the addon the way napi-rs wants it on each platform.

fn main() {
    napi_build::setup();
    // Node.js unloads an addon with the last worker thread that uses it, while threads of the runtime
    // may still be running its code.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

//! Links the addon the way napi-rs wants it on each platform.

fn main() {
    napi_build::setup();
}

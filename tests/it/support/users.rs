//! The users of docs/redis.md.

use std::path::Path;

/// The line of docs/redis.md that makes this user.
pub fn documented_user(name: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/redis.md");
    let begin = format!("ACL SETUSER {name} ");
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(&begin)).expect("the user is documented");
    line.split(' ').map(str::to_owned).collect()
}

/// Makes such a user.
pub fn allow(client: &mut redis::Connection, line: &[String]) {
    redis::cmd(&line[0]).arg(&line[1..]).exec(client).unwrap();
}

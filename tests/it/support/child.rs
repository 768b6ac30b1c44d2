//! Other processes, and other users.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

/// A user without rights, present on every system.
pub const NOBODY: u32 = 65_534;

const MARK: &str = "child: ";

/// This test binary, running its test `directory::child_process` alone. Killed when dropped.
pub struct Child {
    process: std::process::Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub fn start(role: &str, directory: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory::child_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env("CHILD_ROLE", role)
            .env("CHILD_DIRECTORY", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Child { process, output }
    }

    /// The next thing it says.
    pub fn line(&mut self) -> String {
        said(&mut self.output).next().expect("the child says something")
    }

    /// Sends SIGKILL, and returns what it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let rest = said(&mut self.output).collect();
        self.process.wait().unwrap();
        rest
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that was not waited for, so that its id is its own.
        assert_eq!(unsafe { libc::kill(self.process.id().try_into().unwrap(), signal) }, 0);
    }

    pub fn end_input(&mut self) {
        self.process.stdin = None;
    }

    pub fn succeed(mut self) {
        while self.output.next().is_some() {}
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The test harness prints on the same stream, and without a line's end. A line cut off by a kill
/// was not said.
fn said(output: &mut Lines<BufReader<ChildStdout>>) -> impl Iterator<Item = String> {
    output.filter_map(|line| {
        let line = line.unwrap();
        line.split_once(MARK).and_then(|(_, text)| text.strip_suffix('.').map(str::to_owned))
    })
}

/// In the child: what to do, and where.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var("CHILD_ROLE").ok()?, std::env::var_os("CHILD_DIRECTORY")?.into()))
}

/// In the child: says something to the parent.
pub fn say(what: impl Display) {
    std::io::stdout().write_all(format!("{MARK}{what}.\n").as_bytes()).unwrap();
}

/// In the child.
pub fn wait_for_the_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// True in a process where no other test runs. Elsewhere it runs the test `name` of `module_path!()` in such a process, and
/// requires that it passes.
#[cfg(target_os = "linux")]
pub fn is_alone(module: &str, name: &str) -> bool {
    const ALONE: &str = "TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let (_, module) = module.split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{name}"), "--nocapture"]);
    let output = command.env(ALONE, "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    // Without a test of this name the process would succeed too.
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{}", String::from_utf8_lossy(&output.stderr));
    false
}

pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Does the work without root's rights. On Linux these belong to the thread, as long as libc, which
/// would change them in all threads, is not asked.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let on_thread = || {
        #[cfg(target_os = "linux")]
        if is_root() {
            // SAFETY: changes the user of this thread, which ends with the work, and nothing else.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) }, 0);
        }
        assert!(!is_root(), "run it as another user than root");
        work()
    };
    std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap())
}

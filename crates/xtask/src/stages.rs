//! A list of stages: run in order, timed, ended at the first failure, summed up in a table.

use std::time::{Duration, Instant};

use crate::shell::Failure;

/// One stage of a suite.
pub struct Stage {
    name: &'static str,
    action: Box<dyn Fn() -> Result<(), Failure>>,
}

/// The stages of a suite, in order.
pub struct Stages {
    suite: &'static str,
    stages: Vec<Stage>,
}

impl Stages {
    /// An empty suite.
    pub fn new(suite: &'static str) -> Self {
        Self { suite, stages: Vec::new() }
    }

    /// Appends a stage.
    pub fn stage(mut self, name: &'static str, action: impl Fn() -> Result<(), Failure> + 'static) -> Self {
        self.stages.push(Stage { name, action: Box::new(action) });
        self
    }

    /// Keeps the stages in `only` (all, if empty) that are not in `skip`.
    ///
    /// # Errors
    /// When a name is not one of ours.
    pub fn select(mut self, only: &[String], skip: &[String]) -> Result<Self, Failure> {
        for name in only.iter().chain(skip) {
            if !self.stages.iter().any(|stage| stage.name == name) {
                let known = self.stages.iter().map(|stage| stage.name.to_owned()).collect();
                return Err(Failure::Unknown { what: "stage", name: name.clone(), known });
            }
        }
        let wanted = |name: &str| {
            (only.is_empty() || only.iter().any(|o| o == name)) && !skip.iter().any(|s| s == name)
        };
        self.stages.retain(|stage| wanted(stage.name));
        Ok(self)
    }

    /// Prints the names, one a line.
    pub fn print_names(&self) {
        for stage in &self.stages {
            println!("{}", stage.name);
        }
    }

    /// Runs the stages until one fails; prints the table either way.
    ///
    /// # Errors
    /// The first failure, with its stage.
    pub fn run(self) -> Result<(), Failure> {
        let mut lines = Vec::new();
        let mut failed = None;
        let begun = now();
        for stage in &self.stages {
            if failed.is_some() {
                lines.push((stage.name, "not run", Duration::ZERO));
                continue;
            }
            println!("\n== {}", stage.name);
            let stage_begun = now();
            let outcome = (stage.action)();
            let took = stage_begun.elapsed();
            let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("== {}: {verdict}, {}", stage.name, seconds(took));
            lines.push((stage.name, verdict, took));
            failed = outcome.err().map(|cause| (stage.name, cause));
        }
        print!("{}", table(self.suite, &lines, begun.elapsed()));
        match failed {
            None => Ok(()),
            Some((stage, cause)) => Err(Failure::Stage { suite: self.suite, stage, cause: Box::new(cause) }),
        }
    }
}

fn table(suite: &str, lines: &[(&str, &str, Duration)], total: Duration) -> String {
    let mut text = format!("\ncargo xtask {suite}\n");
    for (name, verdict, took) in lines {
        text.push_str(&format!("  {name:<14} {verdict:<8} {:>9}\n", seconds(*took)));
    }
    let verdict = if lines.iter().all(|(_, verdict, _)| *verdict == "ok") { "ok" } else { "FAILED" };
    text.push_str(&format!("  {:<14} {verdict:<8} {:>9}\n", "total", seconds(total)));
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[allow(clippy::disallowed_methods, reason = "a build tool measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::shell::Run;

    fn counted(count: &Rc<Cell<u32>>) -> impl Fn() -> Result<(), Failure> + 'static {
        let count = Rc::clone(count);
        move || {
            count.set(count.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn stages_after_a_failure_are_not_run() {
        let ran = Rc::new(Cell::new(0));
        let stages = Stages::new("test")
            .stage("first", counted(&ran))
            .stage("second", || Run::new("false").run())
            .stage("third", counted(&ran));
        let failure = stages.run().expect_err("the second stage fails");
        assert_eq!(ran.get(), 1);
        assert!(
            failure.to_string().starts_with("test stopped at stage `second`: `false` ended"),
            "{failure}"
        );
    }

    #[test]
    fn an_unknown_stage_is_refused_with_the_known_ones() {
        let stages = Stages::new("test").stage("lint", || Ok(()));
        let failure = stages.select(&["lnit".to_owned()], &[]).err().expect("no such stage");
        assert_eq!(failure.to_string(), "there is no stage `lnit`; known are: lint");
    }

    #[test]
    fn only_and_skip_choose_together() {
        let ran = Rc::new(Cell::new(0));
        let stages = Stages::new("test").stage("a", counted(&ran)).stage("b", counted(&ran));
        let both = ["a".to_owned(), "b".to_owned()];
        stages.select(&both, &["b".to_owned()]).expect("both are known").run().expect("a succeeds");
        assert_eq!(ran.get(), 1);
    }

    #[test]
    fn the_table_shows_each_stage_and_the_total() {
        let lines =
            [("lint", "ok", Duration::from_millis(1_500)), ("unit", "FAILED", Duration::from_secs(2))];
        let text = table("test", &lines, Duration::from_millis(3_500));
        assert!(text.contains("  lint           ok           1.5 s\n"), "{text}");
        assert!(text.contains("  total          FAILED       3.5 s\n"), "{text}");
    }
}

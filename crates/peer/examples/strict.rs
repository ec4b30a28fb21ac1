//! `cargo run --release -p peer --example strict -- TARGET CALLER CALLEE RATE SECONDS HOLD_MS`: a strict run
//! without the bench around it.
use std::time::Duration;

use peer::strict::{Phase, StrictArgs, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |i: usize| words.get(i).map(String::as_str).unwrap_or_default();
    let args = StrictArgs::new(word(0).parse()?, word(1).parse()?, word(2).parse()?);
    let phases = vec![Phase { rate: word(3).parse()?, seconds: word(4).parse()? }];
    let hold = Duration::from_millis(word(5).parse()?);
    println!("{:?}", run(&StrictArgs { phases, hold, ..args })?);
    Ok(())
}

//! `cargo run --release -p peer --example load -- TARGET LISTEN RATE CALLS HOLD_MS [CALLEE]`: a run without the
//! binary around it.
use std::time::Duration;

use peer::load::{LoadArgs, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |i: usize| words.get(i).map(String::as_str).unwrap_or_default();
    let mut args = LoadArgs::new(word(0).parse()?, word(1).parse()?);
    args.rate = word(2).parse()?;
    args.calls = word(3).parse()?;
    args.mix.hold = Duration::from_millis(word(4).parse()?);
    args.callee_listen = word(5).parse().ok();
    args.media = word(6) == "media";
    println!("{:?}", run(&args)?);
    Ok(())
}

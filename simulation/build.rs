//! Lets the interposed `getrandom` be found by dynamic look-up, which is how the standard library asks for it.

fn main() {
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=getrandom");
}

//! `make sim SEED=n`: replays one seed, or runs a range of them.
//!
//! A seed that breaks a promise is printed with its shortest list of faults and the trace of what
//! the machine heard and did.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command-line tool")]

use std::process::ExitCode;
use std::time::Instant;

use simulate::{Mutant, World, plan, shape, shrink, simulate};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match parse(&arguments) {
        Ok(wanted) => wanted.run(),
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Wanted {
    seeds: std::ops::Range<u64>,
    steps: u64,
    mutant: Option<Mutant>,
    quiet: bool,
}

impl Wanted {
    #[allow(clippy::disallowed_methods, reason = "how long it took is worth knowing")]
    fn run(&self) -> ExitCode {
        let began = Instant::now();
        let (mut steps, mut seeds, mut promotions, mut primaries) = (0, 0, 0, 0);
        for seed in self.seeds.clone() {
            if self.steps > 0 && steps >= self.steps {
                break;
            }
            let report = simulate(seed, self.mutant);
            steps += report.steps;
            promotions += report.promotions;
            primaries += report.primaries;
            seeds += 1;
            let single = self.seeds.end - self.seeds.start == 1;
            if report.violation.is_some() || single {
                show(seed, self.mutant, self.quiet);
            }
            if report.violation.is_some() {
                return ExitCode::FAILURE;
            }
        }
        println!(
            "{seeds} seeds, {steps} steps, {promotions} promotions, {primaries} snapshots with a \
             primary, {:.1} s",
            began.elapsed().as_secs_f64()
        );
        ExitCode::SUCCESS
    }
}

fn show(seed: u64, mutant: Option<Mutant>, quiet: bool) {
    let shape = shape(seed);
    let whole = plan(seed, &shape);
    let failed = World::run(seed, &shape, &whole, mutant, false).violation.is_some();
    let plan = if failed { shrink(seed, &shape, &whole, mutant) } else { whole };
    let report = World::run(seed, &shape, &plan, mutant, true);
    println!("# seed {seed}: {} faults of {}", plan.len(), plan.len());
    for (at, fault) in &plan {
        println!("#   {at} {fault:?}");
    }
    if !quiet {
        println!("{}", failover::story::write(&report.settings, &report.trace));
    }
    match report.violation {
        Some(violation) => println!("# at {}: {}", violation.at, violation.what),
        None => println!("# {} steps, no violation", report.steps),
    }
}

fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted { seeds: 0..1_000, steps: 0, mutant: None, quiet: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--quiet" {
            wanted.quiet = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{argument} wants a value"))?;
        let number = |text: &str| text.parse().map_err(|_| format!("not a number: {text}"));
        match argument.as_str() {
            "--seed" => {
                let seed = number(value)?;
                wanted.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let (from, to) = value.split_once("..").ok_or("--seeds wants A..B")?;
                wanted.seeds = number(from)?..number(to)?;
            }
            "--steps" => wanted.steps = number(value)?,
            "--mutant" => {
                let named = simulate::MUTANTS.iter().find(|it| format!("{it:?}") == *value);
                wanted.mutant = Some(*named.ok_or_else(|| format!("no such mutant: {value}"))?);
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(wanted)
}

const USAGE: &str =
    "usage: simulate [--seed N | --seeds A..B] [--steps N] [--mutant NAME] [--quiet]";

//! One budget of jobs for all steps, counted in compilers: `cargo xtask prove jobs`.
//!
//! Two components compile C with the pinned build environment's make and gcc, beside one that hoards a job and one that is killed with one in
//! its hands. Every compiler notes when it begins and ends.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workshop::Workshop;

/// When something began and ended, in nanoseconds.
type Span = (u64, u64);

/// Compiles many small files, each long enough to be seen, in two makes one below the other.
const MAKEFILE: &str = "\
names = $(shell seq $(from) $(to))
objects = $(names:%=o/%.o)
all: $(objects) $(if $(below),below)
below: ; $(MAKE) from=21 to=40 below=
o/%.o: ; @mkdir -p o spans; date +%s%N > spans/$*.begin; sh ./source $* | gcc -O2 -x c -c -o $@ -; date +%s%N > spans/$*.end
.PHONY: below
";

/// Prints a source that takes the compiler about half a second.
const SOURCE: &str = "\
i=0
while [ $i -lt 150 ]; do
  echo \"int f$i(int *a, int n) { int s = $1; for (int i = 0; i < n; i++) s = s * 31 + a[i] % ($i + 7); return s; }\"
  i=$((i + 1))
done
";

const SPANS: &str =
    "for f in spans/*.begin; do echo $(cat $f) $(cat ${f%.begin}.end); done > \"$OUTPUT/spans\"";

/// A component that compiles; `salt` makes its steps new ones.
fn compiling(name: &str, salt: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1\"\nsource = {{ path = \"src\" }}\noutputs = {{ spans = [\"spans\"] }}\n\
         [[step]]\nname = \"build\"\nrun = \"make from=1 to=20 below=1 # {salt}\"\n\
         [[step]]\nname = \"install\"\nrun = '''\ncp -r o \"$OUTPUT\"\n{SPANS}\n'''\n"
    )
}

/// Runs this between the notes of its own beginning and end.
fn noting(name: &str, run: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1\"\noutputs = {{ spans = [\"spans\"] }}\n[[step]]\nname = \"build\"\nrun = '''\n\
         mkdir -p spans\ndate +%s%N > spans/own.begin\n{run}\ndate +%s%N > spans/own.end\n: > \"$OUTPUT/done\"\n{SPANS}\n'''\n"
    )
}

/// Makes a project of these components and builds it with so many jobs; gives what was printed.
fn build(shop: &Workshop, jobs: &str, more: &str, name: &str) -> Result<String> {
    for name in ["one", "two"] {
        shop.write(&format!("recipes/{name}/recipe.toml"), &compiling(name, jobs))?;
        shop.write(&format!("recipes/{name}/src/makefile"), MAKEFILE)?;
        shop.write(&format!("recipes/{name}/src/source"), SOURCE)?;
    }
    let hoard = noting("hoarder", "head -c 1 /proc/self/fd/98 > job\nsleep 5");
    let killed = "printf 'all: a b\\na b: ; sleep 100\\n' > makefile\nmake &\nsleep 3\nkill -9 $$";
    shop.write("recipes/hoarder.toml", &hoard)?;
    shop.write("recipes/killed.toml", &noting("killed", killed))?;
    let all = "name = \"all\"\nneeds = [\"hoarder\", \"killed\", \"one\", \"two\"]\n[[step]]\nname = \"build\"\nrun = \"false\"\n";
    shop.write("recipes/all.toml", all)?;
    let output = shop.osier(&["-j", jobs, more, "build", name])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr))
}

fn spans(shop: &Workshop, name: &str) -> Result<Vec<Span>> {
    let folder = shop.project.join("out-of").join(name);
    let folder = folder.to_str().context("the path is UTF-8")?;
    shop.good(&["build", name, "--out", folder])?;
    let text = std::fs::read_to_string(Path::new(folder).join("spans/spans"))?;
    let span = |line: &str| {
        let (begin, end) = line.split_once(' ')?;
        Some((begin.parse().ok()?, end.parse().ok()?))
    };
    text.lines().map(|line| span(line).context("not a span")).collect()
}

/// The most that ran at one time, and when that was first so.
fn most(spans: &[Span]) -> (usize, u64) {
    let at =
        |moment: u64| spans.iter().filter(|(begin, end)| *begin <= moment && moment < *end).count();
    let all = spans.iter().map(|(begin, _)| (at(*begin), Reverse(*begin)));
    all.max().map_or((0, 0), |(most, Reverse(first))| (most, first))
}

/// Counts compilers.
pub(crate) fn jobs(store: &Path) -> Result<()> {
    let shop = Workshop::new("jobs", store)?;
    let text = build(&shop, "4", "--keep-going", "all")?;
    ensure!(text.contains("error[S002]") && text.contains("killed:build"), "{text}");
    let [one, two, hoarder] = ["one", "two", "hoarder"].map(|name| spans(&shop, name));
    let (one, two, hoarder) = (one?, two?, hoarder?);
    let compilers = [one.as_slice(), &two].concat();
    ensure!(compilers.len() == 80, "{} compilers ran", compilers.len());
    let (all, _) = most(&[compilers.as_slice(), &hoarder].concat());
    ensure!(all <= 4, "{all} jobs ran at one time, of 4");
    let (begin, end) = hoarder[0];
    let beside: Vec<Span> =
        compilers.iter().copied().filter(|span| begin < span.0 && span.1 < end).collect();
    ensure!(!beside.is_empty(), "nothing was compiled beside the step that hoards a job");
    let (after, when) = most(&compilers);
    println!(
        "prove jobs: {all} jobs at most of 4, {} compilers beside a step that hoards one and a step that is killed with one; {after} at a \
         time {} s after the end of the first",
        beside.len(),
        (when.saturating_sub(end)) / 1_000_000_000
    );
    // The same bytes with any number of jobs.
    let mut digests = Vec::new();
    for jobs in ["1", "2", "5"] {
        let text = build(&shop, jobs, "--json", "one")?;
        let ended = text.lines().find(|line| line.contains("\"steps_ended\""));
        let ended: serde_json::Value =
            serde_json::from_str(ended.context("the build does not sum up")?)?;
        let busy = ended["utilisation"].as_f64().context("a number")?;
        let processors = &ended["processors"];
        let digest = shop.digest("one")?;
        println!("prove jobs: -j{jobs}: {:.0}% of {processors} processors, {digest}", busy * 100.0);
        digests.push(digest);
    }
    ensure!(digests.iter().all(|one| *one == digests[0]), "the outputs differ: {digests:?}");
    Ok(())
}

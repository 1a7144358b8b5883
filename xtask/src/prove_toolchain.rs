//! Proof that the cross-toolchains make programs that run, and that nothing of the host or of the build environment reaches them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

const C: &str = r#"#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <linux/version.h>
int main(int count, char **words) {
    long double third = 1.0L / (2 + count);
    printf("c %zu %d %.6Lf %.3f %d\n", strlen(words[0]) ? sizeof(long) : 0, PATH_MAX, third, sqrt(2.0 * count),
           LINUX_VERSION_CODE >> 16);
    return 0;
}
"#;
const CXX: &str = r#"#include <atomic>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
static std::atomic<int> sum;
int main() {
    std::thread one([] { sum += 40; }), two([] { sum += 2; });
    one.join();
    two.join();
    std::map<std::string, int> words{{"sum", sum}};
    try {
        return words.at("none");
    } catch (const std::out_of_range &) {
        std::cout << "c++ " << words["sum"] << std::endl;
    }
}
"#;

/// Compiles both programs, static and dynamic.
const COMPILE: &str = r#"
mkdir -p "$OUTPUT/bin"
$CC -O2 "$FILES/program.c" -o "$OUTPUT/bin/c" -lm
$CC -O2 -static "$FILES/program.c" -o "$OUTPUT/bin/c-static" -lm
$CXX -O2 "$FILES/program.cc" -o "$OUTPUT/bin/cxx"
$CXX -O2 -static "$FILES/program.cc" -o "$OUTPUT/bin/cxx-static"
$READELF -l "$OUTPUT/bin/c" | grep "interpreter: /lib/ld-musl-$TARGET.so.1"
if $READELF -l "$OUTPUT/bin/cxx-static" | grep interpreter; then exit 1; fi
"#;

/// Runs what was compiled for this machine: all that it links with is named.
const EXECUTE: &str = r#"
libraries=/proto/usr/lib:$(dirname "$(find /tools/gcc/usr -name libstdc++.so.6)")
for program in /proto/bin/*; do
  case $program in
    *-static) $program ;;
    *) /proto/lib/ld-musl-x86_64.so.1 --library-path "$libraries" "$program" ;;
  esac
done > "$OUTPUT/said"
cat "$OUTPUT/said"
"#;

/// What a compiler that looks in the usual places would stumble over.
const POISON: &str = r#"
for folder in /usr/include /usr/local/include /usr/include/x86_64-linux-gnu /usr/include/c++/12 /include; do
  mkdir -p $folder
  for header in stdio.h limits.h string.h math.h linux/version.h iostream string; do
    mkdir -p $(dirname $folder/$header)
    echo '#error poisoned' > $folder/$header
  done
done
for folder in /usr/lib /usr/local/lib /usr/lib/x86_64-linux-gnu /lib /lib64 /usr/lib/gcc/x86_64-linux-gnu/12; do
  mkdir -p $folder
  for file in libc.so libc.a libm.a libm.so libgcc.a libgcc_s.so libstdc++.a libstdc++.so crt1.o Scrt1.o rcrt1.o crti.o crtbegin.o \
    crtbeginS.o crtbeginT.o; do
    echo poisoned > $folder/$file
  done
done
mkdir -p /usr/local/bin
for tool in as ld ld.bfd collect2 gcc cc g++ c++ cpp; do
  printf '#!/bin/sh\necho poisoned >&2\nexit 1\n' > /usr/local/bin/$tool
  chmod 755 /usr/local/bin/$tool
  cp /usr/local/bin/$tool /usr/bin/$tool
done
"#;

/// Something that needs no C library, and finds none.
const BARE: &str = r#"name = "bare"
freestanding = true
[[step]]
name = "install"
run = """
echo '#include <stdio.h>' > uses.c
if $CC -c uses.c -o uses.o; then exit 1; fi
echo 'int answer(void) { return 42; }' > answer.c
$CC -O2 -ffreestanding -c answer.c -o "$OUTPUT/answer.o"
"""
"#;

/// A patch of the C library: one symbol more.
const MARK: &str = "--- /dev/null
+++ b/src/misc/mark.c
@@ -0,0 +1 @@
+const char mark[] = \"what the patch adds\";
";

/// What the programs say where they run.
const SAID: &str = "c 8 4096 0.333333 1.414 6\n";

/// Builds the toolchains of both targets and compiles with them.
pub(crate) fn run(store: &Path) -> Result<()> {
    let shop = Workshop::new("toolchain", store)?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    let both = ["--target", "x86_64", "--target", "aarch64"];
    fails_half_way(&shop, &[&["build", "toolchain"], both.as_slice()].concat())?;
    let programs = |name: &str, before: &str| -> Result<()> {
        shop.write(&format!("recipes/{name}/program.c"), C)?;
        shop.write(&format!("recipes/{name}/program.cc"), CXX)?;
        let recipe = format!(
            "name = \"{name}\"\nfiles = [\"program.*\"]\n{before}[[step]]\nname = \"install\"\nrun = '''{COMPILE}'''\n"
        );
        shop.write(&format!("recipes/{name}/recipe.toml"), &recipe)
    };
    programs("plain", "")?;
    programs("poisoned", &format!("[[step]]\nname = \"poison\"\nrun = '''{POISON}'''\n"))?;
    shop.write(
        "recipes/said.toml",
        &format!(
            "name = \"said\"\nneeds = [\"plain\"]\n[[step]]\nname = \"install\"\nrun = '''{EXECUTE}'''\n"
        ),
    )?;
    for target in ["x86_64", "aarch64"] {
        let plain = shop.digest(&format!("plain@{target}"))?;
        ensure!(
            shop.digest(&format!("poisoned@{target}"))? == plain,
            "what lies in the build environment's usual places changed a program for {target}"
        );
        ensure!(
            again_on_a_poisoned_host(&shop, target)? == plain,
            "what the host's variables name changed a program for {target}"
        );
    }
    shop.good(&["build", "said@x86_64", "--out", "said"])?;
    let said = std::fs::read_to_string(shop.project.join("said/main/said"))?;
    let expected = format!("{SAID}{SAID}c++ 42\nc++ 42\n");
    ensure!(said == expected, "the programs said:\n{said}");
    println!(
        "prove toolchain: programs run, and poisoned headers, libraries and linkers change no byte of them"
    );
    carried_away(&shop)?;
    patched_library(&shop)
}

/// Adds a patch to the C library: what uses it is built again, and nothing else.
fn patched_library(shop: &Workshop) -> Result<()> {
    const NEEDS: &str = "needs = [\"libgcc\"]\n";
    shop.write("recipes/bare.toml", BARE)?;
    let (bare, plain) = (shop.digest("bare@x86_64")?, shop.digest("plain@x86_64")?);
    let recipe = std::fs::read_to_string(root().join("recipes/musl.toml"))?;
    ensure!(recipe.contains(NEEDS), "the recipe of musl is another one");
    let recipe = recipe.replace(NEEDS, &format!("{NEEDS}patches = [\"*.patch\"]\n"));
    shop.write("recipes/musl/recipe.toml", &recipe)?;
    shop.write("recipes/musl/0001-mark.patch", MARK)?;
    let cause = "musl@x86_64 is built again because the file 0001-mark.patch is new (recipes/musl/0001-mark.patch)";
    let why = shop.good(&["why", "plain@x86_64"])?;
    ensure!(why.contains(cause), "`why` should say `{cause}`:\n{why}");
    let text = shop.good(&["build", "plain@x86_64"])?;
    let ran = text.lines().filter_map(|line| line.trim_start().strip_prefix("run  "));
    let ran: BTreeSet<&str> = ran.filter_map(|step| Some(step.split_once(':')?.0)).collect();
    ensure!(
        ran == BTreeSet::from(["gcc@x86_64", "musl@x86_64", "plain@x86_64"]),
        "the library, the compiler's libraries and the program should be built again: {ran:?}"
    );
    shop.good(&["build", "musl@x86_64", "--out", "musl"])?;
    let library = std::fs::read(shop.project.join("musl/main/usr/lib/libc.so"))?;
    ensure!(library.windows(19).any(|bytes| bytes == b"what the patch adds"), "it is not in it");
    let text = shop.good(&["build", "bare@x86_64"])?;
    ensure!(text.contains(&bare) && !text.contains("run  "), "it uses no library:\n{text}");
    std::fs::remove_dir_all(shop.project.join("recipes/musl"))?;
    ensure!(shop.digest("plain@x86_64")? == plain, "without the patch it should be as before");
    println!(
        "prove toolchain: a patch of musl, named by `osier why`, built {ran:?} again, and nothing that is freestanding"
    );
    Ok(())
}

/// Builds the toolchains with a mistake in the last of their components, and once more without it: what ran does not run again.
fn fails_half_way(shop: &Workshop, build: &[&str]) -> Result<()> {
    const MAKE: &str = "make MAKEINFO=true all-target-libstdc++-v3";
    let begun = Instant::now();
    let recipe = std::fs::read_to_string(root().join("recipes/gcc.toml"))?;
    ensure!(recipe.contains(MAKE), "the step is another one");
    shop.write("recipes/gcc.toml", &recipe.replace(MAKE, "make all-target-libstdc--v3"))?;
    let told = ["No rule to make target", "ended with exit status 2", "recipes/gcc.toml"];
    let failed = shop.bad(build, 1, &told)?;
    let first = begun.elapsed().as_secs();
    std::fs::remove_file(shop.project.join("recipes/gcc.toml"))?;
    let built = shop.good(build)?;
    let done = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("done  "));
        lines.filter_map(|line| Some(line.split_once(" in ")?.0.to_owned())).collect()
    };
    let (failed, built) = (done(&failed), done(&built));
    let twice: Vec<&String> = failed.intersection(&built).collect();
    ensure!(twice.is_empty(), "these ran again: {twice:?}");
    println!(
        "prove toolchain: a mistake in gcc's recipe was told after {first} s and {} steps; without it both toolchains were there {} s later, after {} more steps",
        failed.len(),
        begun.elapsed().as_secs() - first,
        built.len()
    );
    Ok(())
}

/// What of the toolchains is cheap enough for every change: the parts that are no compiler, for a foreign target, and
/// components of `ovm-rootfs`, here by the build environment's compiler.
pub(crate) fn parts(store: &Path) -> Result<()> {
    let shop = Workshop::new("toolchain-parts", store)?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    let begun = Instant::now();
    for name in ["mpc", "musl-headers@aarch64", "linux-headers@aarch64", "zlib", "xz", "attr"] {
        shop.good(&["--locked", "build", name])?;
    }
    let log = shop.good(&["log", "attr:configure"])?;
    let renewed =
        log.lines().any(|line| line.starts_with("renewed: ./build-aux/config.sub of 2018"));
    ensure!(renewed, "the log does not say that an old config.sub was renewed:\n{log}");
    shop.write(
        "recipes/ends.toml",
        r#"name = "ends"
role = "runtime"
tools = ["binutils"]
[[step]]
name = "install"
run = """
printf '.globl _start\n_start: mov x8, #93\nmov x0, #0\nsvc #0\n' > ends.s
"$HOST_TRIPLE-as" -o ends.o ends.s
"$HOST_TRIPLE-ld" -o "$OUTPUT/ends" ends.o
"$HOST_TRIPLE-readelf" -h "$OUTPUT/ends" | grep "Machine: *AArch64"
"""
"#,
    )?;
    shop.good(&["--locked", "build", "ends@aarch64", "--out", "ends"])?;
    println!(
        "prove toolchain-parts: binutils for aarch64, the compiler's libraries, headers and components, in {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// Compiles once more, in another store's worth of keys, with variables that would lead a compiler of this host astray.
fn again_on_a_poisoned_host(shop: &Workshop, target: &str) -> Result<String> {
    let poison = shop.project.join("poison");
    std::fs::create_dir_all(&poison)?;
    for name in ["stdio.h", "limits.h", "string", "iostream"] {
        std::fs::write(poison.join(name), "#error poisoned\n")?;
    }
    for name in ["libc.so", "libc.a", "libm.a", "libgcc.a", "crt1.o", "Scrt1.o"] {
        std::fs::write(poison.join(name), "poisoned\n")?;
    }
    let recipe = shop.project.join("recipes/plain/recipe.toml");
    let text = std::fs::read_to_string(&recipe)?;
    // A comment in the script makes the step run again.
    std::fs::write(&recipe, text.replace("mkdir -p", "# again\nmkdir -p"))?;
    let component = format!("plain@{target}");
    let mut command = shop.command(&["build", &component]);
    for variable in [
        "CPATH",
        "C_INCLUDE_PATH",
        "CPLUS_INCLUDE_PATH",
        "LIBRARY_PATH",
        "LD_LIBRARY_PATH",
        "COMPILER_PATH",
        "GCC_EXEC_PREFIX",
    ] {
        command.env(variable, &poison);
    }
    for variable in ["CC", "CXX", "CFLAGS", "LDFLAGS", "AR"] {
        command.env(variable, "/poisoned");
    }
    let output = command.output().context("cannot run osier")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        wrong.contains("run  ") || text.contains("run  "),
        "the step should run again:\n{wrong}"
    );
    std::fs::write(&recipe, std::fs::read_to_string(&recipe)?.replace("# again\n", ""))?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{component}:main ")));
    Ok(line.with_context(|| format!("no digest:\n{text}{wrong}"))?.to_owned())
}

/// Puts the toolchain of this machine's target somewhere else and compiles there, outside every sandbox.
fn carried_away(shop: &Workshop) -> Result<()> {
    let place = shop.project.join("elsewhere");
    shop.good(&["build", "toolchain@x86_64", "--out", "elsewhere"])?;
    for (compiler, source, program) in [("gcc", "program.c", "c"), ("g++", "program.cc", "cxx")] {
        let compiler = place.join("main/usr/bin").join(format!("x86_64-linux-musl-{compiler}"));
        let made = place.join(program);
        let status = Command::new(&compiler)
            .args(["-static", "-O2", "-o"])
            .arg(&made)
            .arg(shop.project.join("recipes/plain").join(source))
            .arg("-lm")
            .status()
            .with_context(|| format!("cannot run {}", compiler.display()))?;
        ensure!(status.success(), "{} failed outside the sandbox", compiler.display());
        let said = Command::new(&made).output()?;
        let wanted = if program == "c" { SAID } else { "c++ 42\n" };
        ensure!(String::from_utf8_lossy(&said.stdout) == wanted, "it said {said:?}");
    }
    println!("prove toolchain: the folder of the toolchain works wherever it is put");
    Ok(())
}

//! No circle of files: what a file needs is below it, so that a reader who starts anywhere arrives at an end.
//!
//! A file needs another one where it names something that is written there: in a `use`, or by a path in its
//! text. Counted is the file in which the named thing is written, however many re-exports the path goes through:
//! a file that declares a module and re-exports it is no circle with it, unless the module uses something of the
//! declaring file's own text. `mod x;` alone needs nothing. A `*` needs the module it is of. Tests inside a file
//! (`#[cfg(test)]`) do not count, and neither do method calls, whose file a reader of names cannot know.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Every crate with its first file.
const CRATES: [(&str, &str); 7] = [
    ("core", "crates/core/src/lib.rs"),
    ("host", "crates/host/src/lib.rs"),
    ("testbed", "crates/testbed/src/lib.rs"),
    ("agent", "agent/src/main.rs"),
    ("cli", "cli/src/main.rs"),
    ("distlock", "distlock/src/main.rs"),
    ("tests", "tests/src/lib.rs"),
];

#[test]
fn no_file_needs_itself_through_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut said = String::new();
    for (name, first) in CRATES {
        let first = root.join(first);
        let house = House::read(&first, &|file| fs::read_to_string(file).ok());
        for circle in house.circles() {
            let files = house.names(&circle, first.parent().unwrap());
            let _ = writeln!(said, "{name}: {} files\n  {files:?}", files.len());
            said.push_str(&house.needs_within(&circle, first.parent().unwrap()));
        }
    }
    assert!(said.is_empty(), "circles of files:\n{said}");
}

fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let files: BTreeMap<PathBuf, &str> = files
        .iter()
        .map(|(name, text)| (Path::new("src").join(name), *text))
        .collect();
    let read = |file: &Path| files.get(file).map(|text| (*text).to_owned());
    let house = House::read(Path::new("src/lib.rs"), &read);
    let circles = house.circles();
    circles
        .iter()
        .map(|circle| house.names(circle, Path::new("src")))
        .collect()
}

#[test]
fn two_files_that_name_each_other_are_a_circle() {
    let first = ("lib.rs", "mod a; mod b;");
    let there = ("a.rs", "use crate::b::{self, B as Other}; pub struct A;");
    for back in [
        "use super::a::A; pub struct B;",
        "use crate::{a::{A}}; pub struct B;",
        "pub struct B(crate::a::A);",
        "use super::a; pub fn f() -> a::A { a::A }",
        "use crate::a::*; pub struct B;",
    ] {
        let found = circles_of(&[first, there, ("b.rs", back)]);
        assert_eq!(found, [["a.rs", "b.rs"]], "{back}");
    }
    for none in [
        "pub struct B; // crate::a::A",
        "/* use crate::a::A; /* */ */ pub struct B;",
        "pub const B: (&str, char, char) = (\"crate::a::A\", '\"', '\\''); fn f<'a>() {}",
        "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
        "pub struct B; #[cfg(test)] use crate::a::A;",
        "use crate::a; pub struct B;",
        "pub(in crate::a) struct B;",
    ] {
        let found = circles_of(&[first, there, ("b.rs", none)]);
        assert!(found.is_empty(), "{none}: {found:?}");
    }
}

#[test]
fn a_parent_is_in_a_circle_only_by_its_own_text() {
    let child = ("a/child.rs", "use super::{Below, Own}; pub struct Child;");
    let below = ("a/below.rs", "pub struct Below;");
    let parent = "mod child; mod below; pub use below::Below; pub use child::Child;";
    let own = format!("{parent} pub struct Own;");
    let found = circles_of(&[("lib.rs", "mod a;"), ("a.rs", &own), child, below]);
    assert_eq!(found, [["a.rs", "a/child.rs"]]);
    let child = ("a/child.rs", "use super::Below; pub struct Child;");
    let found = circles_of(&[("lib.rs", "mod a;"), ("a.rs", &own), child, below]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_circle_of_three_goes_through_macros_and_longer_paths() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "pub mod deep;"),
        (
            "a/deep.rs",
            "macro_rules! made { () => { $crate::b::f() } }",
        ),
        ("b.rs", "use crate::c; pub fn f() { c::g::<u8>() }"),
        ("c.rs", "pub fn g<T>() { made!() }"),
    ];
    assert_eq!(circles_of(&files), [["a/deep.rs", "b.rs", "c.rs"]]);
}

/// The files of one crate and what each names.
struct House {
    modules: Vec<Module>,
    /// Which module has the text of which macro.
    macros: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Module {
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    /// What a `use` brings, by the name it has here.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Paths in the text, and macros as `name!`.
    paths: Vec<Vec<String>>,
}

/// What a path leads to.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// Something that is written in the file of this module.
    Item(usize),
    /// Another crate's, or something of the file itself.
    Outside,
}

impl House {
    fn read(first: &Path, text: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut house = House {
            modules: Vec::new(),
            macros: BTreeMap::new(),
        };
        house.add(first, 0, first.parent().unwrap(), text);
        house
    }

    /// Reads one file and those it declares, which are in `below`.
    fn add(
        &mut self,
        file: &Path,
        parent: usize,
        below: &Path,
        text: &dyn Fn(&Path) -> Option<String>,
    ) -> usize {
        let source = text(file).unwrap_or_else(|| panic!("{} is missing", file.display()));
        let tokens = without_tests(&tokens(&source));
        let this = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            ..Module::default()
        });
        for name in self.take_in(this, &tokens) {
            let candidates = [
                (below.join(format!("{name}.rs")), below.join(&name)),
                (below.join(&name).join("mod.rs"), below.join(&name)),
            ];
            let (child, below) = candidates
                .iter()
                .find(|(file, _)| text(file).is_some())
                .unwrap_or_else(|| panic!("{}: mod {name} has no file", file.display()));
            let child = self.add(child, this, below, text);
            self.modules[this].children.insert(name, child);
        }
        this
    }

    /// Notes what the text names; the answer is the modules that it declares.
    fn take_in(&mut self, this: usize, tokens: &[String]) -> Vec<String> {
        let mut declared = Vec::new();
        let word = |at: usize| tokens.get(at).map_or("", String::as_str);
        let mut at = 0;
        while at < tokens.len() {
            match (word(at), word(at + 1), word(at + 2)) {
                ("pub", "(", _) => at = closing(tokens, at + 1),
                ("mod", name, ";") => {
                    declared.push(name.to_owned());
                    at += 3;
                }
                // Its text is this file's; `super` in it would be this file.
                ("mod", name, "{") => {
                    let body = &tokens[at..closing(tokens, at + 2)];
                    let file = self.modules[this].file.display();
                    let above = body.windows(2).any(|pair| pair == ["super", "::"]);
                    assert!(!above, "{file}: super in {name}");
                    at += 3;
                }
                ("macro_rules", "!", name) => {
                    self.macros.insert(format!("{name}!"), this);
                    at += 3;
                }
                ("use", next, _) if next != "<" => {
                    at = self.take_use(this, tokens, at + 1, &[]);
                }
                (first, ..) if is_word(first) => {
                    let mut path = vec![first.to_owned()];
                    at += 1;
                    while word(at) == "::" && is_word(word(at + 1)) {
                        path.push(word(at + 1).to_owned());
                        at += 2;
                    }
                    if word(at) == "!" && word(at + 1) != "=" {
                        path.last_mut().unwrap().push('!');
                    }
                    if path.len() > 1 || path[0].ends_with('!') {
                        self.modules[this].paths.push(path);
                    }
                }
                _ => at += 1,
            }
        }
        declared
    }

    /// One branch of a `use`, which begins at `at`; the answer is where it ends.
    fn take_use(&mut self, this: usize, tokens: &[String], at: usize, above: &[String]) -> usize {
        let mut path = above.to_vec();
        let mut at = at;
        loop {
            match tokens[at].as_str() {
                "{" => {
                    at += 1;
                    while tokens[at] != "}" {
                        at = self.take_use(this, tokens, at, &path);
                        at += usize::from(tokens[at] == ",");
                    }
                    return at + 1;
                }
                "*" => {
                    self.modules[this].globs.push(path);
                    return at + 1;
                }
                "as" => {
                    self.modules[this]
                        .imports
                        .insert(tokens[at + 1].clone(), path);
                    return at + 2;
                }
                "," | ";" | "}" => {
                    if let Some(name) = path.last().cloned() {
                        self.modules[this].imports.insert(name, path);
                    }
                    return at;
                }
                "self" if !path.is_empty() => at += 1,
                "::" => at += 1,
                name => {
                    path.push(name.to_owned());
                    at += 1;
                }
            }
        }
    }

    /// Where a path that is written in `this` leads; `steps` ends what leads in a circle.
    fn resolve(&self, this: usize, path: &[String], steps: usize) -> Target {
        let Some((first, rest)) = path.split_first().filter(|_| steps > 0) else {
            return Target::Outside;
        };
        let mut here = match first.as_str() {
            "crate" => 0,
            "self" => this,
            "super" => self.modules[this].parent,
            name => match self.step(this, name, steps) {
                Target::Module(child) => child,
                target => return target,
            },
        };
        for name in rest {
            here = match name.as_str() {
                "super" => self.modules[here].parent,
                name => match self.step(here, name, steps) {
                    Target::Module(child) => child,
                    // The name is no module's: the text of this one has it.
                    Target::Outside => return Target::Item(here),
                    target => return target,
                },
            };
        }
        Target::Module(here)
    }

    /// One name in a module: a child, or what is imported by that name.
    fn step(&self, here: usize, name: &str, steps: usize) -> Target {
        let module = &self.modules[here];
        if let Some(child) = module.children.get(name) {
            return Target::Module(*child);
        }
        match module.imports.get(name) {
            // `use clap;` and the like name themselves.
            Some(path) if path.len() > 1 => self.resolve(here, path, steps - 1),
            _ => Target::Outside,
        }
    }

    /// The files that a file needs, each with a path that says so.
    fn needs(&self, this: usize) -> BTreeMap<usize, String> {
        const STEPS: usize = 12;
        let module = &self.modules[this];
        let mut needs = BTreeMap::new();
        let mut note = |target, path: &[String]| {
            if target != this {
                needs
                    .entry(target)
                    .or_insert_with(Vec::new)
                    .push(path.join("::"));
            }
        };
        for path in module.imports.values() {
            // A module that is imported is needed for what the text takes from it.
            if let Target::Item(target) = self.resolve(this, path, STEPS) {
                note(target, path);
            }
        }
        for path in &module.globs {
            if let Target::Item(target) | Target::Module(target) = self.resolve(this, path, STEPS) {
                note(target, path);
            }
        }
        for path in &module.paths {
            let last = path.last().unwrap();
            if last.ends_with('!') {
                if let Some(target) = self.macros.get(last) {
                    note(*target, path);
                }
            } else if let Target::Item(target) | Target::Module(target) =
                self.resolve(this, path, STEPS)
            {
                note(target, path);
            }
        }
        let listed = |mut paths: Vec<String>| {
            paths.sort();
            paths.dedup();
            paths.join(", ")
        };
        needs
            .into_iter()
            .map(|(target, paths)| (target, listed(paths)))
            .collect()
    }

    /// The sets of files that all need each other, directly or through others.
    fn circles(&self) -> Vec<Vec<usize>> {
        let needs: Vec<Vec<usize>> = (0..self.modules.len())
            .map(|this| self.needs(this).into_keys().collect())
            .collect();
        let reached: Vec<BTreeSet<usize>> = (0..needs.len())
            .map(|from| {
                let (mut reached, mut open) = (BTreeSet::new(), needs[from].clone());
                while let Some(next) = open.pop() {
                    if reached.insert(next) {
                        open.extend(&needs[next]);
                    }
                }
                reached
            })
            .collect();
        let circle = |from: usize| -> Vec<usize> {
            let back = |to: &usize| reached[*to].contains(&from);
            reached[from].iter().copied().filter(back).collect()
        };
        let found: BTreeSet<Vec<usize>> = (0..needs.len()).map(circle).collect();
        found
            .into_iter()
            .filter(|circle| circle.len() > 1)
            .collect()
    }

    fn name(&self, module: usize, below: &Path) -> String {
        let file = &self.modules[module].file;
        file.strip_prefix(below).unwrap().display().to_string()
    }

    fn names(&self, circle: &[usize], below: &Path) -> Vec<String> {
        let mut names: Vec<String> = circle.iter().map(|file| self.name(*file, below)).collect();
        names.sort();
        names
    }

    /// The needs that make the circle, one a line.
    fn needs_within(&self, circle: &[usize], below: &Path) -> String {
        let mut said = String::new();
        for from in circle {
            for (to, why) in self.needs(*from) {
                if circle.contains(&to) {
                    let (from, to) = (self.name(*from, below), self.name(to, below));
                    let _ = writeln!(said, "    {from} -> {to}: {why}");
                }
            }
        }
        said
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Where the bracket that opens at `at` has been closed.
fn closing(tokens: &[String], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < tokens.len() {
        match tokens[at].as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Without what is compiled for tests only.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !tokens[at..].iter().take(ONLY.len()).eq(ONLY.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += ONLY.len();
        let to_the_semicolon = tokens[at..].iter().take(2).any(|word| word == "use");
        while at < tokens.len() {
            match tokens[at].as_str() {
                ";" => {
                    at += 1;
                    break;
                }
                "{" if !to_the_semicolon => {
                    at = closing(tokens, at);
                    break;
                }
                "(" | "[" | "{" => at = closing(tokens, at),
                _ => at += 1,
            }
        }
    }
    kept
}

/// Words, `::` and other signs; without comments, texts, numbers and lifetimes.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let char = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let wordy = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let (this, next) = (char(at), char(at + 1));
        match this {
            '/' if next == '/' => {
                while at < chars.len() && char(at) != '\n' {
                    at += 1;
                }
            }
            '/' if next == '*' => {
                let mut depth = 0;
                loop {
                    match (char(at), char(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            '"' => {
                at += 1;
                while at < chars.len() && char(at) != '"' {
                    at += if char(at) == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            '\'' => {
                if next == '\\' {
                    at += 3;
                    while char(at) != '\'' {
                        at += 1;
                    }
                    at += 1;
                } else if char(at + 2) == '\'' {
                    at += 3;
                } else {
                    at += 1;
                    while wordy(char(at)) {
                        at += 1;
                    }
                }
            }
            ':' if next == ':' => {
                tokens.push("::".to_owned());
                at += 2;
            }
            c if wordy(c) => {
                let start = at;
                while wordy(char(at)) {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let raw = ["r", "br", "cr"].contains(&word.as_str());
                let hashes = (at..).take_while(|at| char(*at) == '#').count();
                if raw && char(at + hashes) == '"' {
                    at += hashes + 1;
                    let end = |at: usize| {
                        char(at) == '"' && (1..=hashes).all(|step| char(at + step) == '#')
                    };
                    while at < chars.len() && !end(at) {
                        at += 1;
                    }
                    at += hashes + 1;
                } else if is_word(&word) {
                    tokens.push(word);
                }
            }
            c if c.is_whitespace() => at += 1,
            c => {
                tokens.push(c.to_string());
                at += 1;
            }
        }
    }
    tokens
}

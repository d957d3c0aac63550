//! The shape of the project: documents name files that exist, imports point down, files stay readable.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longer files are more than one idea, as a rule.
const MOST_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below `folder` with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn documents_name_files_that_exist() {
    let root = root();
    let mut sources = files(&root, ".rs");
    sources.extend(files(&root, ".lua"));
    sources.extend(files(&root, ".js"));
    let mut missing = Vec::new();
    for document in files(&root, ".md") {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().unwrap();
        // Links: [text](path)
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if !path.contains("://") && !path.is_empty() && !folder.join(path).exists() {
                missing.push(format!("{}: link to {path}", document.display()));
            }
        }
        // Code: `path/file.rs`, given in full or by its end
        for code in text.split('`').skip(1).step_by(2) {
            let is_file = [".rs", ".lua", ".js"]
                .iter()
                .any(|ending| code.ends_with(ending));
            let is_example = code.ends_with("tasks/remind.rs");
            if is_file && !code.contains(char::is_whitespace) && !is_example {
                let known = sources.iter().any(|path| path.ends_with(code));
                if !known {
                    missing.push(format!("{}: names {code}", document.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_environment_variable_is_in_the_sample() {
    let sample = fs::read_to_string(root().join(".env.sample")).unwrap();
    let mut missing = Vec::new();
    for part in ["common/src", "server/src", "worker/src"] {
        for file in files(&root().join(part), ".rs") {
            if file.to_string_lossy().ends_with("_test.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for name in text
                .split("env = \"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
            {
                if !sample.contains(&format!("{name}=")) {
                    missing.push(name.to_owned());
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn imports_point_down() {
    // Each layer may use those before it.
    let layers: [&[&str]; 8] = [
        &["id", "lead", "words"],
        &["config", "error", "shutdown", "telemetry"],
        &["kv", "pg"],
        &["preflight"],
        &["queue"],
        &["chat"],
        &["health"],
        &["testing"],
    ];
    let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let source = root().join("common/src");
    let mut upward = Vec::new();
    for file in files(&source, ".rs") {
        let path = file.strip_prefix(&source).unwrap();
        let own = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let own = own.trim_end_matches(".rs");
        let Some(own_layer) = layer_of(own) else {
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        // Tests beside the code may use the testing layer.
        let code = text
            .replace("#[cfg(test)]\nmod ", "mod ")
            .replace("mod tests {", "#[cfg(test)]");
        let code = code.split("#[cfg(test)]").next().unwrap();
        let is_test = path.to_string_lossy().contains("_test");
        // The names of keys speak of queues and jobs; it is the one exception.
        let is_keys = path == Path::new("kv/keys.rs");
        for module in layers
            .iter()
            .skip(own_layer + 1)
            .flat_map(|layer| layer.iter())
        {
            let uses = code.contains(&format!("crate::{module}"))
                || code.contains(&format!("    {module}::"))
                || code.contains(&format!("    {module}::{{"));
            let allowed = is_test || (is_keys && *module == "queue");
            if uses && !allowed {
                upward.push(format!("{} uses {module}", path.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = files(&root(), ".rs")
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:#?}");
}

#[test]
fn scripts_that_end_jobs_can_follow_flows() {
    let queue = root().join("common/src/queue");
    let sources: Vec<_> = files(&queue, ".rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut lacking = Vec::new();
    for script in files(&queue.join("lua"), ".lua") {
        let text = fs::read_to_string(&script).unwrap();
        let name = script.file_name().unwrap().to_string_lossy().into_owned();
        let ends = ["part(", "finish(", "bury(", "leave_group(", "fire_if_done("];
        let ends_jobs = ends.iter().any(|call| text.contains(call));
        if !ends_jobs || name == "lib.lua" || name == "flow.lua" {
            continue;
        }
        // In `mod.rs` by its name alone, in a list of parts.
        let listed = format!("\"{}\"", name.trim_end_matches(".lua"));
        let joined = |source: &String| {
            let lists = |line: &&str| line.contains("lua!(") && line.contains(&listed);
            if let Some(list) = source.lines().find(lists) {
                return Some(list.contains("\"flow\""));
            }
            let (before, _) = source.split_once(&format!("lua/{name}\""))?;
            let parts = before.rsplit_once("Script::")?.1;
            Some(
                ["ENDS", "SELDOM"]
                    .iter()
                    .any(|with_flows| parts.contains(with_flows)),
            )
        };
        let with_flows: Vec<bool> = sources.iter().filter_map(joined).collect();
        if with_flows.is_empty() || with_flows.contains(&false) {
            lacking.push(name);
        }
    }
    assert!(
        lacking.is_empty(),
        "join these with ENDS, not LIB: {lacking:?}"
    );
}

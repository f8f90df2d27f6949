//! What the pages on audiences show is so: each query is understood, each wrong one is refused with a hint,
//! and both languages show the same.

use model::Query;

const PAGES: [&str; 2] = [include_str!("../../../docs/en/audience.md"), include_str!("../../../docs/zh/audience.md")];

/// The lines of all blocks of a kind.
fn lines<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == kind,
            None if inside => found.push(line),
            None => {}
        }
    }
    found
}

#[test]
fn the_queries_shown_are_understood() {
    for page in PAGES {
        let queries = lines(page, "query");
        assert!(queries.len() >= 10);
        for text in queries {
            let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(Query::parse(&query.to_string()).as_ref(), Ok(&query), "{text}");
        }
    }
}

#[test]
fn what_is_shown_as_wrong_is_refused_with_a_hint() {
    for page in PAGES {
        let wrong = lines(page, "wrong");
        assert!(wrong.len() >= 5);
        for text in wrong {
            assert!(Query::parse(text).expect_err(text).hint.is_some(), "{text}");
        }
        let error = Query::parse("app = 7 and temp > 30").unwrap_err();
        let hint = error.hint.clone().unwrap_or_default();
        assert!(page.contains(&format!("espush: {error}\n  hint: {hint}")));
    }
}

#[test]
fn both_languages_show_the_same() {
    for kind in ["query", "wrong", "text"] {
        assert_eq!(lines(PAGES[0], kind), lines(PAGES[1], kind), "{kind}");
    }
}

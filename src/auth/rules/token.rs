//! The words of a `pg_hba.conf`, taken apart as PostgreSQL's `next_token` and `next_field_expand` do it.
//!
//! A field is one token or several with commas between them. A token that begins with a double quote is
//! never a keyword. `#` begins a comment except inside quotes.

use std::fmt;

/// One token of a field.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// It began with a quote.
    pub(super) quoted: bool,
}

/// The quotes of a line are not in pairs. PostgreSQL takes the rest of the line into the token then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenQuote;

// === impl Token ===

impl Token {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }

    /// Whether it has a meaning that begins with this character.
    pub(super) fn begins(&self, with: char) -> bool {
        !self.quoted && self.text.starts_with(with)
    }
}

/// As it might be written, cut where it gets long.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", &self.text[..end]),
            None => write!(f, "{:?}", self.text),
        }
    }
}

// === reading ===

/// The lines of a text with their numbers; a backslash at the end of a line joins the next one to it, whatever
/// either of them holds (PostgreSQL 14).
pub(super) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (line, continued) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match joined.last_mut() {
            Some((_, former)) if goes_on => former.push_str(line),
            _ => joined.push((number, line.to_owned())),
        }
        goes_on = continued;
    }
    joined
}

/// The fields of a line.
pub(super) fn fields(line: &str) -> Result<Vec<Vec<Token>>, OpenQuote> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(|c| is_blank(c) || c == ',');
        let Some((token, comma, after)) = token(rest)? else { break };
        field.push(token);
        if !comma {
            fields.push(std::mem::take(&mut field));
        }
        rest = after;
    }
    if !field.is_empty() {
        fields.push(field);
    }
    Ok(fields)
}

/// The first token, whether a comma ends it, and what follows; none at the end of the line or at a comment.
fn token(text: &str) -> Result<Option<(Token, bool, &str)>, OpenQuote> {
    let mut token = Token { text: String::new(), quoted: false };
    let (mut inside, mut any_quote) = (false, false);
    let mut characters = text.char_indices().peekable();
    let (mut comma, mut rest) = (false, "");
    while let Some((at, c)) = characters.next() {
        match c {
            '"' if inside && matches!(characters.peek(), Some((_, '"'))) => {
                characters.next();
                token.text.push('"');
            }
            '"' => {
                token.quoted |= token.text.is_empty() && !any_quote;
                any_quote = true;
                inside = !inside;
            }
            _ if inside => token.text.push(c),
            '#' => break,
            ',' => {
                (comma, rest) = (true, &text[at + 1..]);
                break;
            }
            _ if is_blank(c) => {
                rest = &text[at..];
                break;
            }
            _ => token.text.push(c),
        }
    }
    if inside {
        return Err(OpenQuote);
    }
    let something = any_quote || !token.text.is_empty();
    Ok(something.then_some((token, comma, rest)))
}

/// PostgreSQL's `pg_isblank`.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

// === constants ===

/// How much of a token is shown.
const SHOWN: usize = 60;

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match fields(line) {
            Err(OpenQuote) => "open".to_owned(),
            Ok(fields) => fields
                .iter()
                .map(|field| {
                    let tokens: Vec<_> = field
                        .iter()
                        .map(|token| {
                            if token.quoted {
                                format!("{:?}", token.text)
                            } else {
                                token.text.clone()
                            }
                        })
                        .collect();
                    tokens.join("+")
                })
                .collect::<Vec<_>>()
                .join(" | "),
        }
    }

    #[test]
    fn takes_lines_apart_as_postgresql_does() {
        for (line, expected) in [
            ("", ""),
            ("  # all of it", ""),
            ("host all all\tall trust", "host | all | all | all | trust"),
            ("host a,b , c d", "host | a+b | c | d"),
            ("host a, b,c d", "host | a+b+c | d"),
            (",,host ,all", "host | all"),
            ("a,", "a"),
            ("host all#comment", "host | all"),
            ("host \"all\" \"a b\",c", "host | \"all\" | \"a b\"+c"),
            ("\"a\"\"b\"", "\"a\"b\""),
            ("\"with # and , in it\"", "\"with # and , in it\""),
            // Quotes in the middle join, and do not make it a quoted token.
            ("a\"b c\"d", "ab cd"),
            ("\"\"", "\"\""),
            ("\"\" x", "\"\" | x"),
            ("host \"all", "open"),
            ("host all\"", "open"),
            ("h\u{fc} \u{a0}x", "h\u{fc} | \u{a0}x"),
        ] {
            let expected = expected.replace("\"a\"b\"", "\"a\\\"b\"");
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn a_backslash_joins_lines() {
        let numbered = |text: &str| lines(text);
        assert_eq!(
            numbered("a\nb \\\r\nc\\\nd\n\ne\\"),
            [(1, "a".to_owned()), (2, "b cd".to_owned()), (5, String::new()), (6, "e".to_owned())]
        );
    }
}

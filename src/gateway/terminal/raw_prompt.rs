//! Questions in raw mode: asked and answered in the terminal itself, a line each. Pure.

use crate::protocol::v1::{Answer, Prompt};

/// The longest answer, in bytes: what is typed beyond is ignored.
const MAX_ANSWER: usize = 1024;

/// A prompt on its way to its answer.
#[derive(Debug)]
pub(super) struct RawPrompt {
    prompt: Prompt,
    answers: Vec<String>,
    line: Vec<u8>,
}

/// What typing led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// This is to be shown, and more is to be typed.
    Show(String),
    /// This is to be shown, and the answer is complete (or cancelled).
    Done(String, Answer),
}

impl RawPrompt {
    /// Begins to ask, and says what is to be shown.
    pub(super) fn ask(prompt: Prompt) -> (Self, String) {
        let mut shown = format!("The machine {} asks:\r\n", printable(&prompt.asker));
        for text in [&prompt.name, &prompt.instruction] {
            if !text.is_empty() {
                shown.push_str(&printable(text));
                shown.push_str("\r\n");
            }
        }
        let asking = RawPrompt { prompt, answers: Vec::new(), line: Vec::new() };
        shown.push_str(&asking.question());
        (asking, shown)
    }

    /// Takes what was typed: Enter goes on to the next question, Backspace takes a character back, Ctrl-C cancels.
    pub(super) fn typed(&mut self, input: &[u8]) -> Typed {
        let mut shown = String::new();
        for &byte in input {
            match byte {
                b'\r' | b'\n' => {
                    self.answers.push(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned());
                    shown.push_str("\r\n");
                    if self.answers.len() >= self.prompt.prompts.len() {
                        return Typed::Done(shown, self.answer(Some(self.answers.clone())));
                    }
                    shown.push_str(&self.question());
                }
                0x03 | 0x04 => return Typed::Done("\r\n".to_owned(), self.answer(None)),
                0x08 | 0x7f => {
                    let text = String::from_utf8_lossy(&self.line).into_owned();
                    let mut kept = text.chars();
                    if kept.next_back().is_some() {
                        self.line = kept.as_str().as_bytes().to_vec();
                        shown.push_str(if self.echoes() { "\x08 \x08" } else { "" });
                    }
                }
                byte if byte >= 0x20 && self.line.len() < MAX_ANSWER => {
                    self.line.push(byte);
                    if self.echoes() && byte.is_ascii() {
                        shown.push(char::from(byte));
                    }
                }
                _ => {}
            }
        }
        Typed::Show(shown)
    }

    fn question(&self) -> String {
        self.prompt.prompts.get(self.answers.len()).map(|line| printable(&line.text)).unwrap_or_default()
    }

    fn echoes(&self) -> bool {
        self.prompt.prompts.get(self.answers.len()).is_some_and(|line| line.echo)
    }

    fn answer(&self, answers: Option<Vec<String>>) -> Answer {
        Answer { id: self.prompt.id, answers }
    }
}

/// Text of a server, without what could drive the terminal.
fn printable(text: &str) -> String {
    text.lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .collect::<Vec<_>>()
        .join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::v1::PromptLine;

    fn asking() -> RawPrompt {
        let line = |text: &str, echo| PromptLine { text: text.to_owned(), echo };
        let prompts = vec![line("User: ", true), line("Code\x1b[2J: ", false)];
        let prompt = Prompt {
            id: 7,
            asker: "ops@db-1".to_owned(),
            name: "Log-in".to_owned(),
            instruction: String::new(),
            prompts,
        };
        let (asking, shown) = RawPrompt::ask(prompt);
        assert_eq!(shown, "The machine ops@db-1 asks:\r\nLog-in\r\nUser: ");
        asking
    }

    #[test]
    fn lines_become_answers_and_secrets_are_not_shown() {
        let mut asking = asking();
        assert_eq!(asking.typed(b"abx\x7fc"), Typed::Show("abx\x08 \x08c".to_owned()));
        assert_eq!(asking.typed(b"\r"), Typed::Show("\r\nCode[2J: ".to_owned()));
        let answers = Some(vec!["abc".to_owned(), "12\u{e9}".to_owned()]);
        assert_eq!(asking.typed("12é\r".as_bytes()), Typed::Done("\r\n".to_owned(), Answer { id: 7, answers }));
    }

    #[test]
    fn ctrl_c_cancels() {
        assert_eq!(asking().typed(b"a\x03"), Typed::Done("\r\n".to_owned(), Answer { id: 7, answers: None }));
    }
}

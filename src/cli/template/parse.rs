//! Tokens to a tree, by the grammar of Go's `text/template`.
//!
//! It must not know the data a template meets. Everything that can be refused without data is refused
//! here: unknown functions, undefined variables, blocks without an end, nesting beyond [`DEPTH`].

use super::func::Func;
use super::lex::{Token, TokenKind, fault, lex};
use imgpack::Result;
use serde_json::Value;
use std::ops::Range;

/// Blocks and parentheses that may be open at once; what evaluates them recurses as deep.
pub(super) const DEPTH: usize = 64;

#[derive(Debug)]
pub(super) enum TemplateNode {
    Text(String),
    Action(Pipe),
    If(Block),
    With(Block),
    Range(Block),
    Break,
    Continue,
}

/// The common shape of `if`, `with` and `range`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<TemplateNode>,
    pub(super) other: Vec<TemplateNode>,
}

/// `$a, $b := command | command`
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) vars: Vec<String>,
    /// `=` sets variables that exist, `:=` makes new ones.
    pub(super) assign: bool,
    pub(super) commands: Vec<Command>,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Command {
    /// A value or function, then its arguments; never empty.
    pub(super) words: Vec<Expr>,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) kind: Term,
    /// The fields taken of the term: `.A.B` is the dot and two fields.
    pub(super) fields: Vec<String>,
    pub(super) span: Range<usize>,
    /// Where Go says that an error is: at the second of several fields.
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Literal(Value),
    Var(String),
    Func(Func),
    Paren(Box<Pipe>),
}

/// Parses a whole template.
pub(super) fn parse(src: &str) -> Result<Vec<TemplateNode>> {
    let tokens = lex(src)?;
    let vars = vec!["$".to_string()];
    let mut parser = Parser { src, tokens, next: 0, vars, depth: 0, ranges: 0 };
    let (nodes, stop) = parser.nodes(None)?;
    match stop {
        Stop::Eof => Ok(nodes),
        Stop::End => Err(parser.fault("unexpected {{end}}")),
        Stop::Else => Err(parser.fault("unexpected {{else}}")),
    }
}

/// What ended a list of nodes; after `Else` the parser stands behind the word.
#[derive(PartialEq)]
enum Stop {
    Eof,
    End,
    Else,
}

struct Parser<'a> {
    src: &'a str,
    tokens: Vec<Token>,
    next: usize,
    /// Variables in scope, innermost last.
    vars: Vec<String>,
    depth: usize,
    ranges: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    /// The end of the token taken last.
    fn end(&self) -> usize {
        self.next.checked_sub(1).and_then(|n| self.tokens.get(n)).map_or(0, |token| token.end)
    }

    /// The start of the token to be taken next.
    fn start(&self) -> usize {
        self.tokens.get(self.next).map_or(self.src.len(), |token| token.at)
    }

    fn fault(&self, what: impl Into<String>) -> imgpack::Error {
        fault(self.src, self.end(), what)
    }

    fn unexpected(&self, place: &str) -> imgpack::Error {
        match self.tokens.get(self.next) {
            Some(token) => {
                self.fault(format!("unexpected <{}> in {place}", &self.src[token.at..token.end]))
            }
            None => self.fault("unexpected EOF"),
        }
    }

    /// Runs one level of nesting; every way to nest passes here.
    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH {
            return Err(self.fault(format!("more than {DEPTH} levels of nesting")));
        }
        self.depth += 1;
        let done = run(self);
        self.depth -= 1;
        done
    }

    /// Nodes up to the end of the text or of the block that `inside` names.
    fn nodes(&mut self, inside: Option<&str>) -> Result<(Vec<TemplateNode>, Stop)> {
        let mut nodes = Vec::new();
        while let Some(token) = self.take() {
            if let TokenKind::Text(text) = token.kind {
                nodes.push(TemplateNode::Text(text));
                continue;
            }
            let word = match self.peek() {
                Some(TokenKind::Ident(word)) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "if" | "with" | "range" => {
                    self.take();
                    nodes.push(self.nested(|parser| parser.block(&word))?);
                }
                "end" => {
                    self.take();
                    self.close("end")?;
                    return Ok((nodes, Stop::End));
                }
                "else" => {
                    self.take();
                    return Ok((nodes, Stop::Else));
                }
                "break" | "continue" => {
                    self.take();
                    self.close(&word)?;
                    if self.ranges == 0 {
                        return Err(self.fault(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if word == "break" {
                        TemplateNode::Break
                    } else {
                        TemplateNode::Continue
                    });
                }
                "define" | "template" | "block" => {
                    return Err(self.fault(format!("{{{{{word}}}}} is not supported")));
                }
                _ => {
                    let pipe = self.pipe("command", 1)?;
                    self.close("command")?;
                    nodes.push(TemplateNode::Action(pipe));
                }
            }
        }
        match inside {
            Some(_) => Err(self.fault("unexpected EOF")),
            None => Ok((nodes, Stop::Eof)),
        }
    }

    fn close(&mut self, place: &str) -> Result<()> {
        if self.peek() != Some(&TokenKind::Close) {
            return Err(self.unexpected(place));
        }
        self.take();
        Ok(())
    }

    /// The rest of an `if`, `with` or `range`, its end included.
    fn block(&mut self, word: &str) -> Result<TemplateNode> {
        let scope = self.vars.len();
        let range = word == "range";
        let pipe = self.pipe(word, if range { 2 } else { 1 })?;
        self.close(word)?;
        self.ranges += usize::from(range);
        let (body, stop) = self.nodes(Some(word))?;
        self.ranges -= usize::from(range);
        let mut other = Vec::new();
        if stop == Stop::Else {
            other = match self.peek() {
                // `{{else if}}` is a block within the other branch, and shares its end.
                Some(TokenKind::Ident(next)) if !range && (next == "if" || next == "with") => {
                    let next = next.clone();
                    self.take();
                    vec![self.nested(|parser| parser.block(&next))?]
                }
                _ => {
                    self.close("else")?;
                    let (nodes, stop) = self.nodes(Some(word))?;
                    if stop == Stop::Else {
                        return Err(self.fault("expected end; found {{else}}"));
                    }
                    nodes
                }
            };
        }
        self.vars.truncate(scope);
        let block = Block { pipe, body, other };
        Ok(match word {
            "if" => TemplateNode::If(block),
            "with" => TemplateNode::With(block),
            _ => TemplateNode::Range(block),
        })
    }

    /// A pipeline up to, and without, the token that closes it; it may declare up to `most` variables.
    fn pipe(&mut self, place: &str, most: usize) -> Result<Pipe> {
        let start = self.start();
        let (vars, assign) = self.declared(place, most)?;
        let mut commands = vec![];
        loop {
            let command = self.command(place)?;
            match command.words[0].kind {
                // Only the first command can be a value: the others take what comes through the pipe.
                Term::Func(_) | Term::Paren(_) => {}
                _ if commands.is_empty() || !command.words[0].fields.is_empty() => {}
                _ => {
                    let stage = commands.len() + 1;
                    return Err(
                        self.fault(format!("non executable command in pipeline stage {stage}"))
                    );
                }
            }
            commands.push(command);
            if self.peek() != Some(&TokenKind::Pipe) {
                break;
            }
            self.take();
        }
        // A variable is not in scope of the value it gets.
        for var in &vars {
            if !assign {
                self.vars.push(var.clone());
            } else if !self.vars.contains(var) {
                return Err(self.fault(format!("undefined variable {var:?}")));
            }
        }
        Ok(Pipe { vars, assign, commands, span: start..self.end() })
    }

    /// `$a, $b :=`, `$a =` or nothing.
    fn declared(&mut self, place: &str, most: usize) -> Result<(Vec<String>, bool)> {
        let start = self.next;
        let mut vars = Vec::new();
        while let Some(TokenKind::Var(var)) = self.peek().cloned() {
            self.take();
            vars.push(var);
            match self.peek() {
                Some(TokenKind::Comma) if vars.len() < most => {
                    self.take();
                }
                Some(TokenKind::Comma) => {
                    return Err(self.fault(format!("too many declarations in {place}")));
                }
                Some(TokenKind::Declare | TokenKind::Assign) => {
                    let assign = self.take().is_some_and(|token| token.kind == TokenKind::Assign);
                    return Ok((vars, assign));
                }
                _ => break,
            }
        }
        // What looked like a declaration is a value: go back to it.
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, place: &str) -> Result<Command> {
        let start = self.start();
        let mut words: Vec<Expr> = Vec::new();
        loop {
            match self.tokens.get(self.next) {
                None
                | Some(Token {
                    kind: TokenKind::Close | TokenKind::Pipe | TokenKind::RightParen,
                    ..
                }) => {
                    break;
                }
                Some(token) if !words.is_empty() && !token.spaced => {
                    return Err(self.unexpected("operand"));
                }
                _ => words.push(self.operand(place)?),
            }
        }
        if words.is_empty() {
            return Err(self.fault(format!("missing value for {place}")));
        }
        Ok(Command { words, span: start..self.end() })
    }

    fn operand(&mut self, place: &str) -> Result<Expr> {
        let start = self.start();
        let mut fields = Vec::new();
        let kind = match self.peek().cloned() {
            Some(TokenKind::Dot) => Term::Dot,
            Some(TokenKind::Field(name)) => {
                fields.push(name);
                Term::Dot
            }
            Some(TokenKind::Var(name)) if self.vars.contains(&name) => Term::Var(name),
            Some(TokenKind::Var(name)) => {
                return Err(self.fault(format!("undefined variable {name:?}")));
            }
            Some(TokenKind::Literal(value)) => Term::Literal(value),
            Some(TokenKind::Ident(name)) => match name.as_str() {
                "true" => Term::Literal(Value::Bool(true)),
                "false" => Term::Literal(Value::Bool(false)),
                "nil" => Term::Nil,
                _ => match Func::named(&name) {
                    Some(func) => Term::Func(func),
                    None => return Err(self.fault(format!("function {name:?} not defined"))),
                },
            },
            Some(TokenKind::LeftParen) => {
                self.take();
                let pipe = self.nested(|parser| parser.pipe("parenthesized pipeline", 0))?;
                if self.peek() != Some(&TokenKind::RightParen) {
                    return Err(self.fault("unclosed left paren"));
                }
                Term::Paren(Box::new(pipe))
            }
            _ => return Err(self.unexpected(place)),
        };
        self.take();
        let mut at = start;
        while let Some(Token { kind: TokenKind::Field(name), spaced: false, .. }) =
            self.tokens.get(self.next)
        {
            if matches!(kind, Term::Literal(_) | Term::Nil | Term::Func(_)) {
                return Err(self.unexpected("operand"));
            }
            fields.push(name.clone());
            if at == start {
                at = self.start();
            }
            self.take();
        }
        if matches!(
            self.tokens.get(self.next),
            Some(Token { kind: TokenKind::Dot, spaced: false, .. })
        ) {
            return Err(self.unexpected("operand"));
        }
        Ok(Expr { kind, fields, span: start..self.end(), at })
    }
}

//! The terminal, while it is ours.

use std::{
    io,
    time::{Duration, SystemTime},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        style,
    },
};

use crate::observe::{
    dashboard::{Dashboard, Key},
    watched::Watched,
};

/// The terminal, which is as it was before once this is dropped, also after a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn open(color: bool) -> io::Result<Self> {
        style::force_color_output(color);
        Ok(Self {
            terminal: ratatui::try_init()?,
        })
    }

    pub(super) fn draw(
        &mut self,
        dashboard: &mut Dashboard,
        watched: &[Watched],
    ) -> io::Result<()> {
        let draw = |frame: &mut Frame<'_>| dashboard.draw(frame, watched, SystemTime::now());
        self.terminal.draw(draw).map(drop)
    }

    /// Waits for a key at most so long; whether there is something new to draw.
    pub(super) fn listen(
        &self,
        dashboard: &mut Dashboard,
        watched: &[Watched],
        patience: Duration,
    ) -> io::Result<bool> {
        if !event::poll(patience)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
                if let Some(key) = key_of(key.code, with_control) {
                    dashboard.press(key, watched);
                    return Ok(true);
                }
                Ok(false)
            }
            Event::Resize(..) => Ok(true),
            _ => Ok(false),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn key_of(code: KeyCode, with_control: bool) -> Option<Key> {
    Some(match (code, with_control) {
        // The terminal sends no signal meanwhile.
        (KeyCode::Char('c'), true) => Key::Interrupt,
        (_, true) => return None,
        (KeyCode::Char('q'), _) => Key::Quit,
        (KeyCode::Up | KeyCode::Char('k'), _) => Key::Up,
        (KeyCode::Down | KeyCode::Char('j'), _) => Key::Down,
        (KeyCode::PageUp, _) => Key::PageUp,
        (KeyCode::PageDown, _) => Key::PageDown,
        (KeyCode::Char('h'), _) => Key::Histograms,
        (KeyCode::Char('p' | ' '), _) => Key::Pause,
        (KeyCode::Char('?'), _) => Key::Help,
        (KeyCode::Esc, _) => Key::Back,
        _ => return None,
    })
}

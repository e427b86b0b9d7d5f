//! The terminal, while it is ours.

use std::{
    io,
    mem::ManuallyDrop,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, SystemTime},
};

use nix::libc;
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
    /// Dropped by itself, it would have to say on a terminal that is gone that it cannot restore it.
    terminal: ManuallyDrop<DefaultTerminal>,
    events: Receiver<io::Result<Event>>,
    is_gone: bool,
}

impl Screen {
    pub(super) fn open(color: bool) -> io::Result<Self> {
        style::force_color_output(color);
        Ok(Self {
            terminal: ManuallyDrop::new(ratatui::try_init()?),
            events: listen(),
            is_gone: false,
        })
    }

    /// Whether the terminal is gone, as after a connection broke. Then SIGHUP may still be on its way.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    pub(super) fn draw(
        &mut self,
        dashboard: &mut Dashboard,
        watched: &[Watched],
    ) -> io::Result<()> {
        let draw = |frame: &mut Frame<'_>| dashboard.draw(frame, watched, SystemTime::now());
        match self.terminal.draw(draw) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                self.is_gone = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for a key at most so long; whether there is something new to draw.
    pub(super) fn listen(
        &self,
        dashboard: &mut Dashboard,
        watched: &[Watched],
        patience: Duration,
    ) -> io::Result<bool> {
        let event = match self.events.recv_timeout(patience) {
            Ok(event) => event?,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok(match event {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
                let key = key_of(key.code, with_control);
                key.is_some_and(|key| {
                    dashboard.press(key, watched);
                    true
                })
            }
            Event::Resize(..) => true,
            _ => false,
        })
    }
}

/// What happens at the terminal. On a thread of its own: crossterm waits for the rest of a sequence of which
/// the beginning was typed, and does not come back at all once the terminal is gone. It ends with the process.
fn listen() -> Receiver<io::Result<Event>> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.send(event).is_err() || is_last {
                return;
            }
        }
    });
    events
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may be gone itself.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
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

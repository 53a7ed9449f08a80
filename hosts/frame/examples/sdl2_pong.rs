//! Pong for two, over TCP, in a window of SDL 2.
//!
//! One player runs `cargo run -p ropewalk-frame --features sdl2 --example sdl2_pong -- listen 127.0.0.1:4455`, and the
//! other one `... --example sdl2_pong -- connect 127.0.0.1:4455`. Without arguments, an echo server in the same program is
//! the opponent, so its paddle follows yours. Move by the keys up and down. Close the window to end.
//!
//! The program that listens moves the ball. Both send a line for each change: `paddle Y` and `ball X Y LEFT RIGHT`.

#![allow(clippy::print_stdout)] // the output of the program

#[path = "drawing/font.rs"]
mod font;
#[path = "drawing/sdl.rs"]
mod sdl;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::{Budget, Error, Protocol, Reactor, Result, RunOptions, Transport};
use sdl::{Key, Rectangle, Screen};

const WIDTH: i32 = 420;
const HEIGHT: i32 = 260;
const PADDLE: Rectangle = Rectangle { x: 16, y: 0, width: 8, height: 48 };
const BALL: i32 = 8;
const STEP: i32 = 4;
const FRAME: Duration = Duration::from_millis(16);
/// A frame has 16 ms, so drawing keeps most of it.
const BUDGET: Duration = Duration::from_millis(4);

/// The table, as this player sees it.
struct Table {
    moves_ball: bool,
    /// The tops of the paddles: left and right.
    paddles: [Cell<i32>; 2],
    ball: Cell<(i32, i32)>,
    speed: Cell<(i32, i32)>,
    score: Cell<(u32, u32)>,
    opponent: RefCell<Option<LineTransport>>,
}

impl Table {
    fn new(moves_ball: bool) -> Table {
        let middle = (HEIGHT - PADDLE.height) / 2;
        Table {
            moves_ball,
            paddles: [Cell::new(middle), Cell::new(middle)],
            ball: Cell::new((WIDTH / 2, HEIGHT / 2)),
            speed: Cell::new((3, 2)),
            score: Cell::default(),
            opponent: RefCell::default(),
        }
    }

    fn own_paddle(&self) -> &Cell<i32> {
        &self.paddles[usize::from(!self.moves_ball)]
    }

    fn other_paddle(&self) -> &Cell<i32> {
        &self.paddles[usize::from(self.moves_ball)]
    }

    fn send(&self, line: &str) {
        if let Some(opponent) = &*self.opponent.borrow() {
            opponent.send_line(line.as_bytes());
        }
    }

    fn move_paddle(&self, by: i32) {
        let top = (self.own_paddle().get() + by).clamp(0, HEIGHT - PADDLE.height);
        if self.own_paddle().replace(top) != top {
            self.send(&format!("paddle {top}"));
        }
    }

    /// Moves the ball by one frame, if this player moves it and there is an opponent.
    fn step(&self) {
        if !self.moves_ball || self.opponent.borrow().is_none() {
            return;
        }
        let ((mut x, mut y), (mut right, mut down)) = (self.ball.get(), self.speed.get());
        (x, y) = (x + right, y + down);
        if y <= 0 || y >= HEIGHT - BALL {
            down = -down;
            y = y.clamp(0, HEIGHT - BALL);
        }
        for (side, paddle) in self.paddles.iter().enumerate() {
            let paddle = Self::paddle(side, paddle.get());
            let is_towards = if side == 0 { right < 0 } else { right > 0 };
            if is_towards && paddle.touches(&Rectangle { x, y, width: BALL, height: BALL }) {
                right = -right;
            }
        }
        let (left_score, right_score) = self.score.get();
        if !(-BALL..=WIDTH).contains(&x) {
            let won = if x < 0 { (left_score, right_score + 1) } else { (left_score + 1, right_score) };
            self.score.set(won);
            (x, y) = (WIDTH / 2, HEIGHT / 2);
        }
        self.ball.set((x, y));
        self.speed.set((right, down));
        let (left_score, right_score) = self.score.get();
        self.send(&format!("ball {x} {y} {left_score} {right_score}"));
    }

    fn paddle(side: usize, top: i32) -> Rectangle {
        let x = if side == 0 { PADDLE.x } else { WIDTH - PADDLE.x - PADDLE.width };
        Rectangle { x, y: top, ..PADDLE }
    }

    /// Handles a line of the opponent, of which nothing may be trusted.
    fn received(&self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let mut numbers = words.map_while(|word| word.parse::<i32>().ok());
        let mut number = |limit: i32| Some(numbers.next()?.clamp(0, limit));
        match kind {
            "paddle" => self.other_paddle().set(number(HEIGHT - PADDLE.height)?),
            // An echo of the own ball comes too late.
            "ball" if !self.moves_ball => {
                self.ball.set((number(WIDTH)?, number(HEIGHT)?));
                self.score.set((number(99)?.unsigned_abs(), number(99)?.unsigned_abs()));
            }
            _ => {}
        }
        Some(())
    }

    fn draw(&self, screen: &Screen) {
        screen.clear();
        for y in (4..HEIGHT).step_by(16) {
            screen.fill(Rectangle { x: WIDTH / 2 - 1, y, width: 2, height: 8 }, 0x60);
        }
        let (left, right) = self.score.get();
        for (column, row) in font::points(&format!("{left:>2} {right:<2}")) {
            let (column, row) = (i32::try_from(column).unwrap_or(0), i32::try_from(row).unwrap_or(0));
            screen.fill(Rectangle { x: WIDTH / 2 - 58 + column * 4, y: 12 + row * 4, width: 4, height: 4 }, 0x90);
        }
        for (side, paddle) in self.paddles.iter().enumerate() {
            screen.fill(Self::paddle(side, paddle.get()), 0xff);
        }
        let (x, y) = self.ball.get();
        screen.fill(Rectangle { x, y, width: BALL, height: BALL }, 0xff);
        screen.present();
    }
}

struct Opponent(Rc<Table>);

impl LineProtocol for Opponent {
    fn connection_made(&mut self, lines: &LineTransport) {
        *self.0.opponent.borrow_mut() = Some(lines.clone());
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        // A line that is not understood changes nothing.
        let _ = self.0.received(&String::from_utf8_lossy(line));
    }

    fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
        self.0.opponent.take();
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Listens or connects, as the arguments say.
fn meet(reactor: &Reactor, arguments: &[&str]) -> Result<Rc<Table>> {
    let table = Rc::new(Table::new(!matches!(arguments, ["connect", _])));
    let meets = table.clone();
    let opponent = move || LineReceiver::new(Opponent(meets.clone()));
    match *arguments {
        [] => {
            let port = reactor.listen_tcp("127.0.0.1:0", || Echo)?;
            reactor.connect_tcp(port.host()?.to_string().as_str(), opponent)?;
        }
        ["listen", address] => println!("listening on {}", reactor.listen_tcp(address, opponent)?.host()?),
        ["connect", address] => drop(reactor.connect_tcp(address, opponent)?),
        _ => return Err(Error::Failed("expected `listen ADDRESS`, `connect ADDRESS`, or nothing".into())),
    }
    Ok(table)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let reactor = Reactor::new()?;
    let table = meet(&reactor, &arguments)?;
    let title = format!("sdl2_pong {}", arguments.first().unwrap_or(&"alone"));
    let screen = Screen::open(&title, WIDTH, HEIGHT).map_err(|error| Error::Failed(error.into()))?;
    let frame = ropewalk_frame::install(&reactor)?;
    reactor.start_running(RunOptions::default())?;
    while frame.tick(Budget::of(BUDGET))? {
        if screen.was_closed() {
            // The connection closes in the next turns. An error means that the reactor is stopping.
            let _ = reactor.stop();
        }
        for (key, by) in [(Key::Up, -STEP), (Key::Down, STEP)] {
            if screen.is_pressed(key) {
                table.move_paddle(by);
            }
        }
        table.step();
        table.draw(&screen);
        std::thread::sleep(FRAME);
    }
    let (left, right) = table.score.get();
    println!("{left} to {right}");
    Ok(())
}

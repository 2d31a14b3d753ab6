//! What a crash leaves to chance, and who decides it.

use super::content::SECTORS;
use crate::kernel::entropy::Stream;

/// Decides what of the unsynced changes a crash keeps. Whoever walks through the changes asks only for what is legal.
pub(crate) trait Choices {
    /// Whether a change of a directory is kept, which could be.
    fn keeps(&mut self) -> bool;

    /// How many of a sequence are kept: from `least` to `most`.
    fn prefix(&mut self, least: usize, most: usize) -> usize;

    /// For each sector of a page, how many of the page's writes had reached the disk. Of each write, one bit for each
    /// sector that it touches.
    fn sectors(&mut self, touching: &[u8]) -> [usize; SECTORS];
}

/// How much a crash takes. A seed that only drew each change by itself would hardly ever lose all or keep all of many.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mood {
    /// Everything that was not synced is gone.
    Nothing,
    /// Everything had just been written back.
    Everything,
    /// Each change was written back with this probability.
    Some(f64),
}

/// A crash state drawn from a disk's stream.
pub(crate) struct Drawn<'a> {
    stream: &'a mut Stream,
    mood: Mood,
    /// Directories change in order, as with a journal (ext4, XFS), rather than each by itself (btrfs's log).
    in_order: bool,
    broken: bool,
}

/// How likely the sector of a page is torn off the others: the disk lost power while it wrote the page.
const TORN: f64 = 0.25;

impl<'a> Drawn<'a> {
    /// Draws how the crash will be.
    pub(crate) fn new(stream: &'a mut Stream) -> Drawn<'a> {
        let mood = match stream.below(8) {
            0..2 => Mood::Nothing,
            2 => Mood::Everything,
            number => Mood::Some([0.1, 0.3, 0.5, 0.7, 0.9][number as usize - 3]),
        };
        let in_order = stream.below(2) == 0;
        Drawn { stream, mood, in_order, broken: false }
    }

    fn chance(&mut self) -> bool {
        match self.mood {
            Mood::Nothing => false,
            Mood::Everything => true,
            Mood::Some(probability) => self.stream.chance(probability),
        }
    }
}

impl Choices for Drawn<'_> {
    fn keeps(&mut self) -> bool {
        let keeps = !(self.in_order && self.broken) && self.chance();
        self.broken |= !keeps;
        keeps
    }

    fn prefix(&mut self, least: usize, most: usize) -> usize {
        match self.mood {
            Mood::Nothing => least,
            Mood::Everything => most,
            Mood::Some(probability) if self.stream.chance(probability) => most,
            Mood::Some(_) => least + self.stream.below((most - least + 1) as u64) as usize,
        }
    }

    fn sectors(&mut self, touching: &[u8]) -> [usize; SECTORS] {
        let written = self.prefix(0, touching.len());
        let mut cuts = [written; SECTORS];
        if matches!(self.mood, Mood::Some(_)) && written < touching.len() && self.stream.chance(TORN) {
            // A later version of the page was on its way to the disk.
            let on_its_way = self.prefix(written + 1, touching.len());
            for cut in &mut cuts {
                *cut = if self.stream.below(2) == 0 { written } else { on_its_way };
            }
        }
        cuts
    }
}

/// Every legal crash state, one after the other: an odometer over the choices that the walk asks for.
#[derive(Default, Debug)]
pub(crate) struct Enumerated {
    /// What was chosen, and of how many.
    wheels: Vec<(usize, usize)>,
    at: usize,
    over: bool,
}

impl Enumerated {
    fn choose(&mut self, options: usize) -> usize {
        if self.at == self.wheels.len() {
            self.wheels.push((0, options));
        }
        let (chosen, known) = self.wheels[self.at];
        debug_assert_eq!(known, options, "the same choices lead to the same question");
        self.at += 1;
        chosen
    }

    /// Turns to the next state; false after the last one.
    pub(crate) fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, options)) = self.wheels.pop() {
            if chosen + 1 < options {
                self.wheels.push((chosen + 1, options));
                return true;
            }
        }
        self.over = true;
        false
    }

    /// Whether the last state was turned past.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}

impl Choices for Enumerated {
    fn keeps(&mut self) -> bool {
        self.choose(2) == 1
    }

    fn prefix(&mut self, least: usize, most: usize) -> usize {
        least + if most > least { self.choose(most - least + 1) } else { 0 }
    }

    fn sectors(&mut self, touching: &[u8]) -> [usize; SECTORS] {
        std::array::from_fn(|sector| {
            let later = touching.iter().enumerate().filter(|(_, mask)| *mask & 1 << sector != 0);
            let cuts: Vec<usize> = std::iter::once(0).chain(later.map(|(write, _)| write + 1)).collect();
            if cuts.len() == 1 { 0 } else { cuts[self.choose(cuts.len())] }
        })
    }
}

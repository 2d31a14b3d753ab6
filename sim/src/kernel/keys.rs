//! Thread-specific data keys: each image has its own, numbered as its program made them.
//!
//! libc has 1,024 keys for the whole process (`PTHREAD_KEYS_MAX`) and std takes one in every image, so images share
//! the genuine ones: as every thread belongs to one image only, its value of a key is that image's. The test and its
//! clients run in the original image and share its keys.

use std::collections::BTreeMap;

/// An image by the address that it is mapped at; none is the original.
pub(crate) type Owner = Option<usize>;

/// What is known of an image's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    /// In use.
    Live {
        /// Address of the destructor, or 0.
        destructor: usize,
    },
    /// Deleted, but another image uses the genuine one, so that this image's threads may still hold values of it: it
    /// is not given out again, as a new key's value has to be NULL (pthread_key_create(3)).
    Spent,
}

/// The keys of all images.
pub(crate) struct Keys {
    /// Genuine keys that the world has made, and that images share.
    shared: Vec<u32>,
    keys: BTreeMap<(Owner, u32), Key>,
}

impl Keys {
    /// With the keys that the original image made before the world: number and destructor.
    pub(crate) fn new(outside: impl IntoIterator<Item = (u32, usize)>) -> Keys {
        let live = |(number, destructor)| ((None, number), Key::Live { destructor });
        Keys { shared: Vec::new(), keys: outside.into_iter().map(live).collect() }
    }

    /// Gives an image a key, which `make` makes if it has all the shared ones.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn create<E>(
        &mut self,
        owner: Owner,
        destructor: usize,
        make: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        let unused = self.shared.iter().copied().find(|number| !self.keys.contains_key(&(owner, *number)));
        let number = match unused {
            Some(number) => number,
            None => {
                let number = make()?;
                self.shared.push(number);
                number
            }
        };
        self.keys.insert((owner, number), Key::Live { destructor });
        Ok(number)
    }

    /// An image deletes a key; true when the genuine one has to be deleted, as nobody else uses it.
    pub(crate) fn delete(&mut self, owner: Owner, number: u32) -> bool {
        let other = |(image, key): &(Owner, u32)| *key == number && *image != owner;
        if self.keys.keys().any(other) {
            if let Some(key) = self.keys.get_mut(&(owner, number)) {
                *key = Key::Spent;
            }
            return false;
        }
        self.keys.remove(&(owner, number));
        self.shared.retain(|shared| *shared != number);
        true
    }

    /// An image is gone.
    pub(crate) fn forget(&mut self, owner: Owner) {
        self.keys.retain(|(image, _), _| *image != owner);
    }

    /// An image's keys with destructors, from a number on.
    pub(crate) fn destructors(&self, owner: Owner, from: u32) -> impl Iterator<Item = (u32, usize)> + '_ {
        self.keys.range((owner, from)..=(owner, u32::MAX)).filter_map(|((_, number), key)| match key {
            Key::Live { destructor } if *destructor != 0 => Some((*number, *destructor)),
            Key::Live { .. } | Key::Spent => None,
        })
    }

    /// The genuine keys that a thread of any image may hold values of.
    pub(crate) fn shared(&self) -> &[u32] {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    fn keys() -> (Keys, impl FnMut() -> Result<u32, ()>) {
        let mut next = 10;
        let make = move || {
            next += 1;
            Ok(next)
        };
        (Keys::new([(3, 0x33)]), make)
    }

    #[test]
    fn images_share_genuine_keys_and_keep_their_own_destructors() {
        let (mut keys, mut make) = keys();
        let a = keys.create(Some(1), 0xa, &mut make).unwrap();
        let b = keys.create(Some(2), 0xb, &mut make).unwrap();
        assert_eq!(a, b);
        assert_ne!(keys.create(Some(1), 0, &mut make), Ok(a));
        assert_eq!(keys.destructors(Some(1), 0).collect::<Vec<_>>(), [(a, 0xa)]);
        assert_eq!(keys.destructors(Some(2), 0).collect::<Vec<_>>(), [(b, 0xb)]);
        assert_eq!(keys.destructors(None, 0).collect::<Vec<_>>(), [(3, 0x33)]);
    }

    #[test]
    fn a_deleted_key_is_not_given_out_again_while_threads_may_hold_values_of_it() {
        let (mut keys, mut make) = keys();
        let key = keys.create(Some(1), 0xa, &mut make).unwrap();
        keys.create(Some(2), 0xb, &mut make).unwrap();
        assert!(!keys.delete(Some(1), key), "image 2 uses it");
        assert_ne!(keys.create(Some(1), 0xa, &mut make), Ok(key));
        keys.forget(Some(1));
        assert_eq!(keys.create(Some(1), 0xa, &mut make), Ok(key), "a fresh image at the same address");
        keys.forget(Some(1));
        assert!(keys.delete(Some(2), key), "nobody else uses it");
        assert!(!keys.shared().contains(&key));
    }
}

//! Functions named by their address: how a host's program is handed to the kernel, which runs it in another image.

/// A program as the kernel takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Gets the function's address in the program's own image, and the program's bytes; returns the exit code.
    pub(crate) enter: unsafe fn(usize, &[u8]) -> i32,
    /// The function's address in this image.
    pub(crate) function: usize,
}

/// A type of function pointer.
pub(crate) trait FunctionPointer: Copy {
    /// Its address.
    fn address(self) -> usize;
    /// The function at an address.
    ///
    /// # Safety
    /// There is a function of this type.
    unsafe fn at(address: usize) -> Self;
}

impl<R> FunctionPointer for fn() -> R {
    fn address(self) -> usize {
        self as usize
    }

    unsafe fn at(address: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute::<usize, Self>(address) }
    }
}

impl<A, R> FunctionPointer for fn(A) -> R {
    fn address(self) -> usize {
        self as usize
    }

    unsafe fn at(address: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute::<usize, Self>(address) }
    }
}

/// What calling such a function comes to.
pub(crate) trait Caller<F> {
    /// Calls the function with what the bytes say; the exit code.
    fn call(function: F, payload: &[u8]) -> i32;
}

impl Entry {
    /// A program that calls this function as `C` does.
    pub(crate) fn new<F: FunctionPointer, C: Caller<F>>(function: F) -> Self {
        Self { enter: enter::<F, C>, function: function.address() }
    }

    /// Runs it in this image, for tests.
    #[cfg(test)]
    pub(crate) fn run_here(self, payload: &[u8]) -> i32 {
        // SAFETY: `new` has put together a function and what calls it.
        unsafe { (self.enter)(self.function, payload) }
    }
}

/// # Safety
/// `function` is the address of an `F` in the image that this is in.
unsafe fn enter<F: FunctionPointer, C: Caller<F>>(function: usize, payload: &[u8]) -> i32 {
    // SAFETY: the caller's promise.
    C::call(unsafe { F::at(function) }, payload)
}

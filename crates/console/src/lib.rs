//! The web console, built by Vite and embedded in the program.

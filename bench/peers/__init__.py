"""Other ways to do the job, each written as its own documentation would; see docs/performance.md."""

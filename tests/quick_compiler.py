"""A compiler for tests that compile much and compute little: a third of the time, for slower programs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import compiler

# XLA's emitters of fused loops take more than half of the time that compiling takes.
OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
# The same for a process that starts.
ENVIRONMENT = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    "XLA_FLAGS": " ".join(f"--{name}={value}".lower() for name, value in OPTIONS.items()),
}


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Leaves most of XLA's optimisations out while it is entered."""
    optimised, options = jax.config.read("jax_disable_most_optimizations"), compiler.get_compile_options

    def quick_options(*given: Any, env_options_overrides: dict[str, Any] | None = None, **settings: Any) -> Any:
        return options(*given, env_options_overrides={**OPTIONS, **(env_options_overrides or {})}, **settings)

    jax.config.update("jax_disable_most_optimizations", True)
    compiler.get_compile_options = quick_options
    yield
    compiler.get_compile_options = options
    jax.config.update("jax_disable_most_optimizations", optimised)

"""The loop's exception handler: asyncio's rules, texts and log format.

Lives here: set/get/default/call_exception_handler.
Does not live here: who calls it (native code and the other parts of the loop).
Thread: the loop's own, or any thread that reports through call_exception_handler().
Invariant: call_exception_handler() raises nothing but SystemExit and KeyboardInterrupt.
"""

import traceback
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._compat import HANDLER_RUNS_IN_CONTEXT

# A mixin to the interpreter, a part of the native loop to the type checker: `Loop` names the
# native class first, so that its methods are found in one step.
if TYPE_CHECKING:
    from .._rulip import EventLoop as Native
else:
    Native = object

ExceptionHandler = Callable[[Any, dict[str, Any]], object]

#: Keys that are written out as a stack, with their headline.
STACK_HEADLINES = {
    "source_traceback": "Object created at (most recent call last):",
    "handle_traceback": "Handle created at (most recent call last):",
}


def _context_of(report: dict[str, Any]) -> Any:
    """The contextvars.Context of the task, future or handle a report is about."""
    for key in ("task", "future", "handle"):
        subject = report.get(key)
        if subject is not None:
            break
    else:
        return None
    get_context = getattr(subject, "get_context", None)
    context = None if get_context is None else get_context()
    return context if hasattr(context, "run") else None


def _describe(key: str, value: Any) -> str:
    headline = STACK_HEADLINES.get(key)
    if headline is None:
        return f"{key}: {value!r}"
    stack = "".join(traceback.format_list(value)).rstrip()
    return f"{key}: {headline}\n{stack}"


class ExceptionHandling(Native):
    """Where errors go that have no caller to go to."""

    _exception_handler: ExceptionHandler | None

    def __init__(self) -> None:
        self._exception_handler = None

    def get_exception_handler(self) -> ExceptionHandler | None:
        """The handler in use, None for the default one."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Use handler(loop, context) from now on; None restores the default one."""
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log the report with everything it carries."""
        message = context.get("message") or "Unhandled exception in event loop"
        exception = context.get("exception")
        if "source_traceback" not in context:
            running = getattr(self, "_current_handle", None)
            stack = getattr(running, "_source_traceback", None)
            if stack:
                context["handle_traceback"] = stack
        lines = [message]
        for key in sorted(context):
            if key not in ("message", "exception"):
                lines.append(_describe(key, context[key]))
        exc_info: Any = False
        if exception is not None:
            exc_info = (type(exception), exception, exception.__traceback__)
        logger.error("\n".join(lines), exc_info=exc_info)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Hand a report to the handler in use; a broken handler is itself reported."""
        handler = self._exception_handler
        if handler is None:
            try:
                self.default_exception_handler(context)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                # A subclass may override the default handler and get it wrong.
                logger.error("Exception in default exception handler", exc_info=True)
            return
        try:
            run_in = _context_of(context) if HANDLER_RUNS_IN_CONTEXT else None
            if run_in is None:
                handler(self, context)
            else:
                run_in.run(handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report_broken_handler(exc, context)

    def _report_broken_handler(self, exc: BaseException, context: dict[str, Any]) -> None:
        try:
            self.default_exception_handler(
                {
                    "message": "Unhandled error in exception handler",
                    "exception": exc,
                    "context": context,
                }
            )
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger.error(
                "Exception in default exception handler while handling an unexpected error "
                "in custom exception handler",
                exc_info=True,
            )

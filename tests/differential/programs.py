"""Small async programs, as data: what Hypothesis generates and shrinks.

Here: the strategies. A program is a list of tasks, a task a list of steps, a step a tuple of its
name and its arguments; some arguments are lists of steps. Not here: what a step does
(interpreter.py). Thread: any.
Invariant: every program is valid; what it refers to by number is taken modulo what there is.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Step = tuple[Any, ...]
Steps = list[Step]
Program = list[Steps]

#: How many of each primitive a program has.
PRIMITIVES = 2

number = st.integers(0, 3)
delay = st.integers(0, 6)
which = st.integers(0, PRIMITIVES - 1)
message = st.sampled_from([None, "x"])

#: What a callback, scheduled or run at once, may do.
action = st.one_of(
    st.tuples(st.just("cancel"), number, message),
    st.tuples(st.just("set_event"), which),
    st.tuples(st.just("settle"), number, st.sampled_from(["result", "exception", "cancel"])),
    st.tuples(st.just("put_nowait"), which, number),
    st.tuples(st.just("get_nowait"), which),
    st.tuples(st.just("release"), which),
    st.tuples(st.just("feed"), st.binary(max_size=5)),
    st.tuples(st.just("feed_eof")),
    st.tuples(st.just("fail")),
    st.tuples(st.just("look")),
)

simple = st.one_of(
    action,
    st.tuples(st.just("sleep"), delay),
    st.tuples(st.just("sleep"), st.just(0)),
    st.tuples(st.just("put"), which, number),
    st.tuples(st.just("get"), which),
    st.tuples(st.just("task_done"), which),
    st.tuples(st.just("join"), which),
    st.tuples(st.just("acquire"), which),
    st.tuples(st.just("wait_event"), which),
    st.tuples(st.just("clear_event"), which),
    st.tuples(st.just("notify"), which, number),
    st.tuples(st.just("wait_condition"), which),
    st.tuples(st.just("barrier"), which),
    st.tuples(st.just("await_future"), number),
    st.tuples(st.just("await_task"), number),
    st.tuples(st.just("read"), st.sampled_from(["line", "exactly", "until", "some"]), number),
    st.tuples(st.just("call_soon"), action),
    st.tuples(st.just("call_later"), delay, action),
    st.tuples(st.just("raise")),
    st.tuples(st.just("uncancel")),
)


def nested(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    body = st.lists(steps, min_size=1, max_size=3)
    bodies = st.lists(body, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("with_lock"), which, body),
        st.tuples(st.just("with_semaphore"), which, body),
        st.tuples(st.just("with_condition"), which, body),
        st.tuples(st.just("timeout"), delay, body),
        st.tuples(st.just("wait_for"), delay, body),
        st.tuples(st.just("gather"), st.booleans(), bodies),
        st.tuples(
            st.just("wait"),
            st.sampled_from(["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]),
            st.none() | delay,
            bodies,
        ),
        st.tuples(st.just("shield"), body),
        st.tuples(st.just("group"), bodies),
        st.tuples(st.just("spawn"), body),
        st.tuples(st.just("generator"), st.booleans(), body),
        st.tuples(st.just("try"), st.sampled_from(["swallow", "reraise", "finally"]), body, body),
    )


step = st.recursive(simple, nested, max_leaves=6)
programs = st.lists(st.lists(step, min_size=1, max_size=5), min_size=1, max_size=5)

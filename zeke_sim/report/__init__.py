"""Reports of a failure: a text screen, an HTML page with a timeline, and a regression test.

All three are made from ``failure.Failure``. ``story`` extracts leases, handler runs, calls and faults from a
history; ``text`` and ``html`` draw them, ``as_json`` formats an event as JSON or as one line, and ``files``
keeps plan and page.
"""

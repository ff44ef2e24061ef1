"""How a failure is shown: on one screen, as a page with a time line, and as a regression test.

``shown.Shown`` is what all three are made from. ``story`` reads leases, handler runs, calls and faults out of
a history once; ``text`` and ``html`` draw it, and ``as_json`` says an event in JSON and in one line.
"""

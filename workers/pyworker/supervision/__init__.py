"""Start-up: certificate, preflight, the processes and their restarts."""

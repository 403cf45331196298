"""What serving engines take and refuse, known without any of them installed."""

"""Real servers, real processes and the guards that every test runs under."""

"""Keep the codes in Redis fresh: `watch` takes away what the platform rejects, `renew` fetches what is due."""

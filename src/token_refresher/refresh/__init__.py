"""Keep the credentials in Redis fresh: `watch` takes away what the platform rejects, `renew` fetches what is due."""

"""The status page: every credential with its state, time left and last day. Shows fingerprints, never credentials.

Needs Flask, Jinja2 and waitress (the extra "daemon").

| module       | what it is for                                                         |
|--------------|------------------------------------------------------------------------|
| `routes`     | the page as a Flask blueprint                                          |
| `auth`       | token, sessions, forms, headers                                        |
| `throttle`   | how long an address that sent wrong tokens waits                       |
| `severity`   | how bad it is: of one credential, and of all together                        |
| `chart`      | the history of a credential as lines                                         |
| `view`       | all of it together, in the words that the template shows               |
| `standalone` | the page without the daemon                                            |
| `assets/`    | templates, style, script, icon                                         |
"""

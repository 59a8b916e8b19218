"""The HTTP layer of the API: requests to typed calls of use cases, results and errors to answers."""

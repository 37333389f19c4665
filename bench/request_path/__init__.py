"""The benches of the request path: one world of 200,000 posts, the real parts around it, and a load generator."""

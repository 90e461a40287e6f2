"""Small models of what promises rest on, looked at in every state that they can reach.

`make model` looks at the bigger ones; the tests here take the small ones, and take each safeguard out of them to see that its loss shows.
"""

"""Are its declarations valid, and does it do what it declares?"""

"""Ask a base about dated facts: does it know of what came after its knowledge end?"""

"""Videos and their captions, without the network: scripted answers stand for YouTube's."""

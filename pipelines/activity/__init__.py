"""The recurrent example: exercises of physiotherapy, told apart by the motion of a smartwatch."""

//! What may lie between a socket and a protocol's machine: TLS, WebSocket, one in the other. A layer is
//! pure: bytes of its lower side come in, bytes for its upper side come out, and the other way round. It
//! is `Send`, because it moves with its connection from shard to shard.
//! A plain connection has no layer and pays nothing for them.

use contract::Close;

/// How the peer's side of a layer stands after what came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Open,
    /// The peer has said goodbye in this layer's own terms: nothing more will come.
    Ended,
}

/// One layer of a connection.
pub trait Layer: Send {
    /// Bytes came in below. Appends what they carry to `up`, and what the layer itself must say to
    /// the peer (an alert, a pong) to `down`. An error ends the connection; `up` and `down` still count.
    fn receive(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close>;

    /// Bytes from above: appends what carries them to `down`.
    fn send(&mut self, plain: &[u8], down: &mut Vec<u8>);

    /// Says goodbye to the peer in this layer's terms. Nothing is sent afterwards.
    fn close(&mut self, down: &mut Vec<u8>);
}

/// The layers of one connection, the one nearest to the socket first.
#[derive(Default)]
pub struct Layers(Vec<Box<dyn Layer>>);

impl Layers {
    /// One layer.
    pub fn of(layer: impl Layer + 'static) -> Layers {
        Layers(vec![Box::new(layer)])
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.0.push(Box::new(layer));
    }

    /// Whether bytes are as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes from the socket came in: see [`Layer::receive`].
    pub fn receive(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
        receive(&mut self.0, input, up, down)
    }

    /// Bytes that the layers below the top have carried already (read on before the top one was put
    /// there). What goes to the peer goes through all of them.
    pub fn receive_at_top(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
        let Some((top, below)) = self.0.split_last_mut() else {
            up.extend_from_slice(input);
            return Ok(Flow::Open);
        };
        let mut said = Vec::new();
        let flow = top.receive(input, up, &mut said);
        send(below, &said, down);
        flow
    }

    /// Bytes for the peer: see [`Layer::send`].
    pub fn send(&mut self, plain: &[u8], down: &mut Vec<u8>) {
        send(&mut self.0, plain, down);
    }

    /// Goodbye in every layer, from the top.
    pub fn close(&mut self, down: &mut Vec<u8>) {
        for top in (0..self.0.len()).rev() {
            let (below, from) = self.0.split_at_mut(top);
            let mut said = Vec::new();
            from[0].close(&mut said);
            send(below, &said, down);
        }
    }
}

fn receive(layers: &mut [Box<dyn Layer>], input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
    match layers {
        [] => {
            up.extend_from_slice(input);
            Ok(Flow::Open)
        }
        [only] => only.receive(input, up, down),
        [first, rest @ ..] => {
            let (mut carried, mut said) = (Vec::new(), Vec::new());
            let below = first.receive(input, &mut carried, down);
            let above = receive(rest, &carried, up, &mut said);
            if !said.is_empty() {
                first.send(&said, down);
            }
            match above? {
                Flow::Ended => Ok(Flow::Ended),
                Flow::Open => below,
            }
        }
    }
}

fn send(layers: &mut [Box<dyn Layer>], plain: &[u8], down: &mut Vec<u8>) {
    if plain.is_empty() {
        return;
    }
    match layers {
        [] => down.extend_from_slice(plain),
        [only] => only.send(plain, down),
        [below @ .., top] => {
            let mut carrying = Vec::new();
            top.send(plain, &mut carrying);
            send(below, &carrying, down);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps every byte as `name byte`, answers its name in capitals with `!`, and says goodbye with its name twice.
    struct Wrap(u8);

    impl Layer for Wrap {
        fn receive(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
            for pair in input.chunks(2) {
                assert_eq!(pair[0], self.0, "bytes reach the layer that they are for");
                match pair[1] {
                    byte if byte == self.0.to_ascii_uppercase() => self.send(b"!", down),
                    byte => up.push(byte),
                }
            }
            Ok(Flow::Open)
        }

        fn send(&mut self, plain: &[u8], down: &mut Vec<u8>) {
            down.extend(plain.iter().flat_map(|byte| [self.0, *byte]));
        }

        fn close(&mut self, down: &mut Vec<u8>) {
            down.extend([self.0, self.0]);
        }
    }

    #[test]
    fn bytes_pass_through_all_layers_in_order() {
        let mut layers = Layers::default();
        layers.push(Wrap(b't'));
        layers.push(Wrap(b'w'));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        assert_eq!(layers.receive(b"twtatwtW", &mut up, &mut down), Ok(Flow::Open));
        assert_eq!(
            (up.as_slice(), down.as_slice()),
            (&b"a"[..], &b"twt!"[..]),
            "an answer of the upper layer goes through the lower"
        );
        down.clear();
        layers.send(b"x", &mut down);
        assert_eq!(down, b"twtx");
        down.clear();
        layers.close(&mut down);
        assert_eq!(down, b"twtwtt", "the upper layer's goodbye goes through the lower, then the lower's own");
    }

    #[test]
    fn what_was_read_on_enters_at_the_top() {
        let mut layers = Layers::default();
        layers.push(Wrap(b't'));
        layers.push(Wrap(b'w'));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        assert_eq!(layers.receive_at_top(b"wawW", &mut up, &mut down), Ok(Flow::Open));
        assert_eq!((up.as_slice(), down.as_slice()), (&b"a"[..], &b"twt!"[..]));
    }

    #[test]
    fn without_layers_bytes_are_as_they_are() {
        let mut layers = Layers::default();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        assert_eq!(layers.receive(b"abc", &mut up, &mut down), Ok(Flow::Open));
        layers.send(b"def", &mut down);
        layers.close(&mut down);
        assert_eq!((up.as_slice(), down.as_slice()), (&b"abc"[..], &b"def"[..]));
    }
}
